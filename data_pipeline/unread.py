"""Files of a corpus that no reader takes: mostly a name that is not quite right, and data that would be missed without a word."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from data_pipeline.job import Job
from data_pipeline.readers import wit

_MOST = 20  # files named, so that a folder of loose pictures does not fill the manifest
_SIDE_FILES = re.compile(
    r'(?:LICEN[CS]E|README|NOTICE).*|.*_stats\.json|dev_test\.(?:tgz|tar\.gz)|wit_v1\.(?:val|test)\..*|Validation_GCC.*'
    r'|.*1percent_sample.*',
    re.IGNORECASE,
)


def warnings_of(job: Job, inputs: Iterable[Path], names: str) -> list[str]:
    """A warning for each file in the places that the build reads which is not among `inputs` (files and folders) nor known to be no data.

    `names` tells people what is read.
    """
    found = _unread(job, set(inputs))
    told = [f'{path} is not read: its name is none of {names}; rename it, or move it out of the folder' for path in found[:_MOST]]
    return told + ([f'{len(found) - _MOST} more files are not read, such as {found[_MOST]}'] if len(found) > _MOST else [])


def _unread(job: Job, inputs: set[Path]) -> list[Path]:
    pictures = [path for path in job.raw.glob('image*') if path.is_dir()] if job.kind == 'pictures' else []
    # What an option replaces is left alone, and so is what has another purpose.
    others = {path for path in (job.out, job.scratch, job.tokenizer, *job.exclude, *job.decontaminate) if isinstance(path, Path)}
    if job.images:
        others.update(pictures)
    if job.translations:
        others.update(job.raw.glob('translations*'))
    known = {path.absolute() for path in inputs | others}
    roots = [job.raw, *([job.images] if job.images else pictures)]  # the pictures on their own, as the folder may be a link
    if job.translations and job.translations.is_dir():
        roots.append(job.translations)
    sides = {wit.EMBEDDINGS} if job.corpus == 'wit' else set()  # folders
    found: dict[Path, Path] = {}  # absolute, as the options may name the same place in two ways -> as the option has it
    for root in roots:
        for name, folders, files in os.walk(root):
            folder = Path(name)
            here = folder.absolute()
            # Not into what is read as a whole: a folder of loose pictures has thousands of files.
            folders[:] = [one for one in folders if not one.startswith('.') and here / one not in known and one not in sides]
            for one in files:
                if not one.startswith('.') and not _SIDE_FILES.fullmatch(one) and here / one not in known:
                    found.setdefault(here / one, folder / one)
    return sorted(found.values())
