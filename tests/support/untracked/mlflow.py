"""In place of MLflow for processes that tests start: DeepSpeed imports it wherever it is, two seconds of each process's start."""

raise ImportError('tests of trackers take this folder off PYTHONPATH')
