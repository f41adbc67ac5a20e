"""`pretrain report RUN`: one self-contained HTML page of all that a run has left in its folder."""
