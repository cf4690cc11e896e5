"""A model in its prepared form: exported once to ONNX, run by ONNX Runtime, with the same vectors.

Rule 1: an export counts only after its vectors were compared with those of the model it was made from: none may differ
        by more than `TOLERANCE` in any component.  Then it is put in place as a whole, by one rename.
Rule 2: the graph holds the whole model, pooling and all, so any model of sentence-transformers can be prepared.
Rule 3: the vectors of a text depend on nothing that is batched with it.
Rule 4: what can be done once is done when it is prepared: the graph is optimised (but not for one processor: the folder
        may be copied), and its weights lie in a file of their own that is mapped.  MiniLM is opened in 0.06 s so; with
        weights in the graph, to be optimised each time, it took 0.27 s.
Rule 5: of those 0.06 s all but 0.015 go into packing the weights, by which a call takes half the time.  Who is over
        after a call or two (*brief*) doesn't pack them.
Rule 6: the vector by which embedders are told apart is kept with the model, so no process computes it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any, Final

from scoutcache.errors import CacheError
from scoutcache.semantic.embedding import checked
from scoutcache.semantic.identity import PROBE
from scoutcache.semantic.models import load_torch

__all__ = ["ABOUT", "TOLERANCE", "PreparedModel", "about_prepared", "is_prepared", "prepare", "source_digest"]

TOLERANCE: Final = 1e-5

_GRAPH, _WEIGHTS, _TOKENS, ABOUT = "graph.onnx", "weights.bin", "tokenizer.json", "about.json"
_TRACED: Final = "traced.onnx"
"""The graph as torch writes it, in the draft alone."""

_PROBES: Final = (
    "How do I reset my password?", "Short.", "Was kostet eine Fahrkarte nach Köln?", "東京の天気", "",
    "A sentence of some length, with numbers such as 3.14 and names such as Ada Lovelace, that goes on and on " * 4,
)  # fmt: skip


def is_prepared(folder: Path) -> bool:
    """Is a whole prepared model in *folder*?"""
    return (folder / ABOUT).is_file()


class PreparedModel:
    """A prepared model; its session is made when it is opened.  *brief* makes that faster, and calls slower."""

    def __init__(self, folder: Path, name: str, *, brief: bool = False) -> None:
        try:
            import numpy as np
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as error:
            raise CacheError(f"the prepared model {name} needs onnxruntime and tokenizers: {error}",
                             hint="pip install 'scoutcache[semantic]'") from error  # fmt: skip
        self.name = name
        options = _options(onnxruntime, "ORT_DISABLE_ALL")  # what there is to do was done (rule 4)
        options.add_session_config_entry("session.disable_prepacking", "1" if brief else "0")
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            self._tokenizer = Tokenizer.from_file(str(folder / _TOKENS))
            self._session = onnxruntime.InferenceSession(
                str(folder / _GRAPH), options, providers=["CPUExecutionProvider"]
            )
            self.known = {PROBE: np.array(about["probe"], np.float32)} if "probe" in about else {}
        except Exception as error:  # a damaged file raises what the libraries like
            raise CacheError(f"the prepared model in {folder} can't be used: {error}",
                             hint="scoutcache semantic prepare --force makes it again") from error  # fmt: skip
        self._tokenizer.enable_truncation(max_length=about["max_tokens"])
        self._tokenizer.enable_padding(pad_id=about["pad_id"], pad_token=about["pad_token"])
        self._inputs = [one.name for one in self._session.get_inputs()]

    def embed(self, texts: list[str]) -> Any:
        """Its vectors."""
        import numpy as np

        found = self._tokenizer.encode_batch(texts)
        fields = {
            "input_ids": np.array([one.ids for one in found], np.int64),
            "attention_mask": np.array([one.attention_mask for one in found], np.int64),
            "token_type_ids": np.array([one.type_ids for one in found], np.int64),
        }
        return self._session.run(None, {name: fields[name] for name in self._inputs})[0]


def _options(onnxruntime: Any, optimisation: str) -> Any:
    """One thread, no chatter, and that much *optimisation* when a graph is opened."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, optimisation)
    return options


def prepare(model: str, folder: Path, name: str) -> float:
    """Export *model* to *folder*; by how much any component of its vectors differs at most.

    Raises `CacheError` where the export can't be made, or makes other vectors.
    """
    torch_model = load_torch(model)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".prepare-", dir=folder.parent))
    try:
        _export(torch_model, draft)
        _optimise(draft)
        about = {"model": name, "max_tokens": int(torch_model.max_seq_length or 512), **_padding(torch_model.tokenizer)}
        (draft / ABOUT).write_text(json.dumps(about), encoding="utf-8")
        forms = [PreparedModel(draft, name, brief=brief) for brief in (False, True)]
        difference = max(_difference(torch_model, form) for form in forms)
        probe = checked(forms[0].embed([PROBE]), 1, forms[0])[0].tolist()
        known_by = {"probe": probe, "source": source_digest(model)}
        (draft / ABOUT).write_text(json.dumps({**about, **known_by}), encoding="utf-8")
        if not difference <= TOLERANCE:
            raise CacheError(f"the export of {model} makes other vectors: they differ by {difference:.2g}",
                             hint="it stays usable as it is, through torch")  # fmt: skip
        if folder.exists():
            shutil.rmtree(folder)
        draft.replace(folder)
        return difference
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def about_prepared(folder: Path) -> dict[str, Any] | None:
    """What is known of the prepared model in *folder*; None where that can't be read."""
    try:
        found = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def source_digest(model: str) -> str | None:
    """The digest of the files of a model that lies in a folder, None for another one."""
    if not Path(model).is_dir():
        return None
    digest = hashlib.sha256()
    for file in sorted(Path(model).rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            with file.open("rb") as data:
                content = hashlib.file_digest(data, "sha256").digest()
            digest.update(f"{file.relative_to(model)}\n".encode() + content)
    return digest.hexdigest()


def _padding(tokenizer: Any) -> dict[str, Any]:
    return {"pad_id": int(tokenizer.pad_token_id or 0), "pad_token": str(tokenizer.pad_token or "[PAD]")}


def _difference(torch_model: Any, prepared: PreparedModel) -> float:
    import numpy as np

    before = checked(torch_model.encode(list(_PROBES), show_progress_bar=False), len(_PROBES), prepared)
    alone = np.concatenate([checked(prepared.embed([text]), 1, prepared) for text in _PROBES])
    together = checked(prepared.embed(list(_PROBES)), len(_PROBES), prepared)
    return float(max(np.abs(before - alone).max(), np.abs(before - together).max()))


def _export(model: Any, folder: Path) -> None:
    """Write the whole model as one graph, and its tokenizer."""
    try:
        import onnx  # noqa: F401  # torch writes the graph with it
        import torch
    except ImportError as error:
        raise CacheError(f"preparing a model needs torch and onnx: {error}",
                         hint="pip install 'scoutcache[semantic]'") from error  # fmt: skip

    transformer = model[0].auto_model
    if hasattr(transformer, "set_attn_implementation"):
        transformer.set_attn_implementation("eager")  # the fused one can't be traced

    class Whole(torch.nn.Module):  # type: ignore[misc]  # torch is an extra, and has no types here
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, *given: Any) -> Any:
            return self.inner(dict(zip(names, given, strict=True)))["sentence_embedding"]

    tokens = model.tokenizer(["a text to trace by", "and another"], padding=True, return_tensors="pt")
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in tokens]
    axes = {name: {0: "batch", 1: "length"} for name in names}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about shapes that are constants
        torch.onnx.export(
            Whole().eval(), tuple(tokens[name] for name in names), str(folder / _TRACED), input_names=names,
            output_names=["vectors"], dynamic_axes={**axes, "vectors": {0: "batch"}}, opset_version=17, dynamo=False,
        )  # fmt: skip
    backend = model.tokenizer.backend_tokenizer
    backend.save(str(folder / _TOKENS))


def _optimise(folder: Path) -> None:
    """Write the graph and its weights as they are opened (rule 4)."""
    import onnxruntime

    options = _options(onnxruntime, "ORT_ENABLE_EXTENDED")
    options.optimized_model_filepath = str(folder / _GRAPH)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", _WEIGHTS)
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    onnxruntime.InferenceSession(str(folder / _TRACED), options, providers=["CPUExecutionProvider"])
    (folder / _TRACED).unlink()
    for name in (_GRAPH, _WEIGHTS, _TOKENS):
        (folder / name).chmod(0o600)
