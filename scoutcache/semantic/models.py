"""Which embedder a configuration means: a prepared model, sentence-transformers, or a function of the user's.

Rule 1: ``module:function`` is a function from a list of texts to an array; anything else names a model of
        sentence-transformers, or a folder that holds one.  Its own environment (``HF_HUB_OFFLINE``…) is respected.
Rule 2: a model that was prepared (`scoutcache.semantic.prepared`) is used in its prepared form: the same vectors, 0.1 s
        to the first of them where torch takes seconds.
Rule 3: one thread, unless the application sets more: beside other work two were 2 to 12 times slower.
Rule 4: a model that is on this machine is never looked for elsewhere; for one that isn't the hub is knocked at once
        first, for the library tries again for more than a minute where there is no network.
Rule 5: what can't be had is said before torch is loaded, which takes seconds (`scoutcache.semantic.whereabouts`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from scoutcache.errors import CacheError
from scoutcache.semantic.embedding import Embedder
from scoutcache.semantic.whereabouts import ORGANISATION, Whereabouts, offline_by, whereabouts

__all__ = ["Function", "TorchModel", "folder_name", "identity", "is_function", "load_embedder", "prepared_in"]

WAYS_OUT = (
    "name a folder that holds the model ([semantic] model); or let `scoutcache semantic prepare` fetch it where there "
    "is a network, and copy the cache's folder semantic/models; or name an embedder of your own, module:function"
)

_PATIENCE: Final = 5.0
"""Seconds to wait for the hub's first word."""


def is_function(model: str) -> bool:
    """Does *model* name a function, ``module:function``?"""
    module, colon, name = model.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def prepared_in(directory: Path, model: str) -> Path:
    """The folder for the prepared form of *model*, in a cache's directory."""
    digest = hashlib.sha256(identity(model).encode()).hexdigest()[:16]
    return directory / "semantic" / "models" / digest


def folder_name(namespace: str) -> str:
    """The folder of a namespace's index, below ``semantic`` in a cache's directory."""
    return hashlib.sha256(namespace.encode()).hexdigest()[:16]


def identity(model: str) -> str:
    """A model by one name: short names are those of the sentence-transformers organisation."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model.removeprefix(ORGANISATION)


def load_embedder(model: str, directory: Path, *, brief: bool = False) -> Embedder:
    """The embedder that *model* names; *brief* says that it is wanted once or twice.

    Raises `CacheError` with the ways out.
    """
    if is_function(model):
        return Function(_function(model), model)
    from scoutcache.semantic.prepared import PreparedModel, is_prepared

    folder = prepared_in(directory, model)
    return PreparedModel(folder, identity(model), brief=brief) if is_prepared(folder) else TorchModel(model)


def _function(model: str) -> Callable[[list[str]], Any]:
    module, _, name = model.partition(":")
    try:
        found: Callable[[list[str]], Any] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise CacheError(f"semantic.model: {model!r} can't be used: {error}",
                         hint="expected module:function that can be imported") from error  # fmt: skip
    if not callable(found):
        raise CacheError(f"semantic.model: {model!r} is no function", hint="it takes a list of texts")
    return found


class Function:
    """A function of the user's as an embedder."""

    def __init__(self, function: Callable[[list[str]], Any], name: str) -> None:
        self._function, self.name = function, name

    def embed(self, texts: list[str]) -> Any:
        """What it gives."""
        return self._function(texts)


class TorchModel:
    """A model of sentence-transformers."""

    def __init__(self, model: str) -> None:
        self.name = identity(model)
        self.model = load_torch(model)

    def embed(self, texts: list[str]) -> Any:
        """Its vectors, made by one thread."""
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self.model.encode(texts, batch_size=32, convert_to_numpy=True, show_progress_bar=False)
        finally:
            torch.set_num_threads(threads)


def load_torch(model: str) -> Any:
    """The model as sentence-transformers has it.  Raises `CacheError` when it can't be had."""
    if find_spec("sentence_transformers") is None:
        raise _without_library(model, "it is not installed")
    _check_within_reach(model)
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise _without_library(model, error) from error
    quiet = _quiet()
    try:
        return _loaded(SentenceTransformer, model)
    except Exception as error:  # the library, its hub and the network raise what they like
        raise _lost(model, f"{_first_line(error):.300}") from error
    finally:
        quiet()


def _check_within_reach(model: str) -> None:
    """Raise `CacheError` where *model* is not here, and can't be fetched either (rule 5)."""
    where = whereabouts(model)
    if where is Whereabouts.AWAY:
        try:
            _knock()
        except CacheError as error:
            raise _lost(model, f"{where.value}; {error}") from error
    elif where is not Whereabouts.HERE:
        because = f" ({offline_by()})" if where is Whereabouts.OFFLINE else ""
        raise _lost(model, where.value + because)


def _lost(model: str, why: str) -> CacheError:
    return CacheError(f"the model {model} can't be loaded: {why}", hint=WAYS_OUT)


def _without_library(model: str, why: object) -> CacheError:
    return CacheError(
        f"the model {model} needs sentence-transformers: {why}",
        hint="pip install 'scoutcache[semantic]'; or name an embedder of your own, module:function",
    )


def _loaded(make: Callable[..., Any], model: str) -> Any:
    """The model from this machine, else from the hub (rule 4); raises what the libraries raise."""
    try:
        return make(model, device="cpu", local_files_only=True)
    except Exception:  # what it lacks here it may find there, or say so
        if not Path(model).is_dir():
            _knock()
            return make(model, device="cpu")
        raise


def _knock() -> None:
    """One short request to the hub.  Raises `CacheError` where nothing answers; what it answers is all the same."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except Exception as error:
        reason = _first_line(error)
        where = "" if constants.ENDPOINT in reason else f"{constants.ENDPOINT} can't be reached: "
        raise CacheError(f"{where}{reason:.200}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _quiet() -> Callable[[], None]:
    """Keep the library's progress bars off stderr while a model is loaded; what takes that back."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    return logging.enable_progress_bar if shown else lambda: None
