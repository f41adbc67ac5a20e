"""Files of a repository on Hugging Face's hub, downloaded into its usual cache, or taken from there when the hub is out of reach."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from huggingface_hub.utils import get_session

from pretrain.init.weights import Finder
from shards.errors import UserError

SECONDS = 10.0  # to find out whether the hub answers


def hub_finder(key: str, repository: str) -> Finder:
    """Finds files of a repository by name. Raises UserError for one that is not on the hub, or neither reachable nor in the cache."""
    problem = _unreachable()

    def find(name: str) -> Path | None:
        try:
            return Path(hf_hub_download(repository, name, local_files_only=problem is not None))
        except LocalEntryNotFoundError:
            if name == 'config.json':  # asked for first; every repository has it
                reason = problem or 'it stopped answering'
                raise UserError(
                    f'{key} = {repository}: there is no such folder, the hub cannot be reached ({reason}), and its cache does not have it; '
                    f'download it elsewhere (`hf download {repository} --local-dir DIR`) and name the folder'
                ) from None
            return None
        except RepositoryNotFoundError:  # also when it may not be read
            raise UserError(
                f'{key} = {repository}: there is no such folder, and no such repository on {constants.ENDPOINT} that you may read; '
                'check the name, or log in with `hf auth login`'
            ) from None
        except EntryNotFoundError:
            return None
        except (HFValidationError, OSError) as error:
            reason = ' '.join(str(error).split())[:200]
            raise UserError(f'{key} = {repository}: {name} cannot be downloaded ({reason}); try again') from None

    return find


def _unreachable() -> str | None:
    """Why the hub cannot be reached, or None. Asked once: the client itself would try every file for half a minute."""
    if constants.HF_HUB_OFFLINE:
        return 'HF_HUB_OFFLINE is set'
    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception as error:  # the kind depends on the client's HTTP library
        return f'{constants.ENDPOINT}: {type(error).__name__}'
    return None
