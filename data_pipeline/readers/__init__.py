"""One reader a corpus: from the published files to typed records. A reader knows the layout and nothing of what comes after it."""
