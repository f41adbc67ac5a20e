"""`downstream report`: results of many runs on one page, laid out as the paper's tables, and pages to look at examples."""
