"""`python -m data_pipeline`."""

from data_pipeline.cli import main

raise SystemExit(main())
