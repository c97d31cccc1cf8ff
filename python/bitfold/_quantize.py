"""Quantizing a network."""

from __future__ import annotations

import html
import importlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bitfold import _core
from bitfold._data import Samples, open_data, temporary_folder
from bitfold._fork import check_forked
from bitfold._evaluate import Comparison, compare
from bitfold._model import AnyModel, Model, load
from bitfold._progress import ProgressBar, logger, reports
from bitfold._session import Session


@dataclass(frozen=True)
class RecipeField:
    """The description of one setting of a recipe."""

    name: str
    #: The valid values, such as "2 to 8".
    values: str
    default: str
    help: str


def recipe_fields() -> list[RecipeField]:
    """Every setting that ``quantize`` accepts in ``recipe`` or by keyword."""
    return [RecipeField(*field[:4]) for field in _core.recipe_fields() if field[4]]


@dataclass(frozen=True)
class Layer:
    """The decision about one node."""

    node: str
    op: str
    quantized: bool
    #: Why it was left in float, or what was adjusted.
    reason: str


class Layers(list[Layer]):
    """A list of layers."""

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with one row per layer; needs pandas."""
        return importlib.import_module("pandas").DataFrame([vars(layer) for layer in self])


class Quantized:
    """The result of ``quantize``."""

    def __init__(self, float_model: Model, result: _core.Result) -> None:
        self.float_model = float_model
        self._result = result
        self.model = Model(result.graph)
        #: What was used: every setting, including those that were chosen automatically.
        self.recipe: dict[str, Any] = json.loads(result.recipe)
        self.layers = Layers(Layer(d.node, d.op, d.quantized, d.reason) for d in result.decisions)
        self.sample_count: int = result.sample_count
        #: The numbers that ``metric`` returned for the quantized and the float network; None if it was not given.
        self.metric: float | None = None
        self.float_metric: float | None = None

    def save(self, path: str | os.PathLike[str], *, opset: int | None = None) -> None:
        """Writes the quantized network as an ONNX file with QuantizeLinear and DequantizeLinear."""
        self.model.save(path, opset=opset)

    def session(self, threads: int = 1) -> Session:
        """A session that runs the quantized network, or the part of it that can be run."""
        return Session(Model(self._result.runnable), threads)

    def compare(self, data: Samples, **options: Any) -> Comparison:
        """Compares the quantized network with the float one; options are those of ``bitfold.compare``."""
        return compare(self.float_model, Model(self._result.runnable), data, **options)

    def report(self) -> Report:
        """The nodes that were quantized, and why the rest was not. Shows itself in a notebook."""
        return Report(self)

    def __repr__(self) -> str:
        done = sum(layer.quantized for layer in self.layers)
        return f"<bitfold.Quantized {self.model._core.name!r}: {done} of {len(self.layers)} nodes in integers>"


class Report:
    """The decisions of a quantization as text, and as a table in notebooks."""

    def __init__(self, quantized: Quantized) -> None:
        self._quantized = quantized

    def _rows(self) -> list[tuple[str, str, str, str]]:
        return [(layer.node, layer.op, "integers" if layer.quantized else "float", layer.reason)
                for layer in self._quantized.layers]

    def _summary(self) -> str:
        quantized = self._quantized
        samples = f"calibrated on {quantized.sample_count} samples" if quantized.sample_count else "without data"
        done = sum(layer.quantized for layer in quantized.layers)
        text = f"{done} of {len(quantized.layers)} nodes run in integers; {samples}"
        return f"{text}; {quantized._result.left}" if quantized._result.left else text

    def __str__(self) -> str:
        rows = [("node", "operator", "runs in", "reason"), *self._rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)) + "  " + row[3] for row in rows]
        return "\n".join([self._summary(), "", *(line.rstrip() for line in lines)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("node", "operator", "runs in", "reason"))
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self._rows())
        return f"<p>{html.escape(self._summary())}</p><table><tr>{head}</tr>{body}</table>"


def _chosen_settings(recipe: Mapping[str, Any] | str | os.PathLike[str] | None,
                   settings: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if isinstance(recipe, (str, os.PathLike)):
        fields = json.loads(_core.load_recipe(os.fspath(recipe)))
    elif recipe is not None:
        fields = dict(recipe)
    if isinstance(fields.get("skip"), str):
        fields["skip"] = [fields["skip"]]
    fields.update({name: value for name, value in settings.items() if value is not None})
    for name, value in fields.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise _core.Error(f"recipe: {name} is {value}; it must be finite")
    has_percentile = settings["percentile"] is not None or (recipe is not None and "observer" not in fields)
    if fields.get("percentile") is not None and has_percentile and settings["observer"] is None:
        fields["observer"] = "percentile"
    return fields


def _names(names: Sequence[str] | str | None) -> list[str]:
    """A list of names; a text is one name."""
    return [names] if isinstance(names, str) else list(names or ())


def _plain(value: Any) -> Any:
    """A number of NumPy as one of Python."""
    if hasattr(value, "item"):
        return value.item()
    raise _core.Error(f"recipe: {value!r} is a {type(value).__name__}, which no setting has")


def quantize(model: AnyModel, data: Samples | None, *, recipe: Mapping[str, Any] | str | os.PathLike[str] | None = None,
             weight_bits: int | None = None, activation_bits: int | None = None, weight_scheme: str | None = None,
             activation_scheme: str | None = None, granularity: str | None = None, rounding: str | None = None,
             bias_correction: str | None = None, equalization: str | None = None, smooth: float | None = None,
             absorb: bool | None = None, target: str | None = None, observer: str | None = None,
             percentile: float | None = None, skip: Sequence[str] | None = None,
             layers: Mapping[str, Mapping[str, Any]] | None = None, transform: Callable[[Any], Any] | None = None,
             preprocess: Mapping[str, Any] | None = None, limit: int | None = None, inputs_at: Sequence[str] = (),
             outputs_at: Sequence[str] = (), metric: Callable[[Session], float] | None = None,
             max_drop: float | None = None, threads: int = 0, progress: bool = True) -> Quantized:
    """Quantizes a float network; the whole pipeline of the command ``bitfold quantize``, with the same result.

    ``model``: a path, the bytes of an ONNX file, onnx.ModelProto, or bitfold.Model.

    ``data``: about 100 typical inputs. A path to any data that the command line takes; an array with samples along its
    first axis; a dictionary of such arrays by input name; or an iterable (a list, a torch DataLoader, a function that
    returns a generator, a CalibrationDataReader of ONNX Runtime) that yields arrays, tuples in the order of the inputs, or
    dictionaries by input name. An item has the shapes of one run, or is one sample without the first axis. A tuple may
    have labels at its end, which are ignored. Items are written to a temporary folder one by one, so that memory does not grow with their
    number. None quantizes without data.

    ``transform`` is applied to every item of an iterable. ``preprocess`` prepares files: keys and values of the
    flags ``--resize``, ``--crop``, ``--mean`` and so on. ``limit``: the largest number of samples.

    ``recipe``: a dictionary, or a TOML or JSON file. The settings from ``weight_bits`` to ``layers`` override it;
    ``recipe_fields()`` describes them. ``inputs_at`` and ``outputs_at``: the values between which to quantize.

    ``metric``: a function that receives a network as a callable (a Session) and returns a number that is higher for a
    better network, such as accuracy. With ``max_drop``, the layers whose error matters most are left in float, as few as
    possible, so that the metric is at most ``max_drop`` (in the metric's own unit) below that of the float network.
    ``Quantized.metric`` and
    ``Quantized.float_metric`` are the measured numbers.

    ``threads``: 0 means all cores; it does not change the result. ``progress`` shows a bar if tqdm is installed. Warnings
    go to the logger "bitfold". Raises Error naming what is wrong with the network, the data or the recipe.
    """
    settings = {"weight_bits": weight_bits, "activation_bits": activation_bits, "weight_scheme": weight_scheme,
                "activation_scheme": activation_scheme, "granularity": granularity, "rounding": rounding,
                "bias_correction": bias_correction, "equalization": equalization, "smooth": smooth, "absorb": absorb,
                "target": target, "observer": observer, "percentile": percentile,
                "skip": None if skip is None else _names(skip), "layers": layers}
    check_forked(threads)
    float_model = load(model)
    if float_model.is_quantized:
        raise _core.Error(f"{float_model._core.name}: is quantized already; quantize needs the float model")
    if (metric is None) != (max_drop is None):
        raise _core.Error("metric and max_drop belong together; pass both")
    if data is None and (metric, transform, preprocess, limit) != (None, None, None, None):
        raise _core.Error("metric, transform, preprocess and limit need samples")
    if max_drop is not None and not max_drop >= 0:
        raise _core.Error(f"max_drop is {max_drop}; it must be at least 0")
    fields = _chosen_settings(recipe, settings)
    with temporary_folder() as folder, ProgressBar(progress) as bar:
        samples = None
        if data is not None:
            samples = open_data(data, float_model.inputs, folder, transform=transform, preprocess=preprocess, limit=limit)

        def attempt(skipped: Sequence[str], measures_noises: bool = False) -> Quantized:
            text = json.dumps({**fields, "skip": [*(fields.get("skip") or []), *skipped]}, default=_plain)
            return Quantized(float_model, _core.quantize(float_model._core, samples, text, threads, reports(bar, folder),
                                                         _names(inputs_at), _names(outputs_at), measures_noises))

        if metric is None or max_drop is None:
            return attempt([])
        return _within_drop(attempt, float_model, metric, max_drop)


def _within_drop(attempt: Callable[..., Quantized], float_model: Model, metric: Callable[[Session], float],
                 max_drop: float) -> Quantized:
    """The network with the fewest of the most sensitive layers in float that keeps the promise."""
    def measure(session: Session) -> float:
        value = metric(session)
        if value is None or math.isnan(value):
            raise _core.Error(f"metric returned {value}; expected a number that is higher for a better network")
        return float(value)

    float_metric = measure(Session(float_model))

    def measured_attempt(skipped: Sequence[str], measures_noises: bool = False) -> Quantized:
        candidate = attempt(skipped, measures_noises)
        candidate.float_metric, candidate.metric = float_metric, measure(candidate.session())
        return candidate

    def keeps_promise(candidate: Quantized) -> bool:
        return candidate.metric is not None and candidate.metric >= float_metric - max_drop

    all_in_integers = measured_attempt([], measures_noises=True)
    if keeps_promise(all_in_integers):
        return all_in_integers
    order = [node for node, _ in sorted(all_in_integers._result.noises, key=lambda pair: -pair[1])]
    # The number of layers in float doubles until the promise holds, and is then bisected.
    low, high = 0, min(1, len(order))
    best = measured_attempt(order[:high])
    while high < len(order) and not keeps_promise(best):
        low, high = high, min(2 * high, len(order))
        best = measured_attempt(order[:high])
    while high - low > 1 and keeps_promise(best):
        middle = (low + high) // 2
        candidate = measured_attempt(order[:middle])
        if keeps_promise(candidate):
            high, best = middle, candidate
        else:
            low = middle
    if not keeps_promise(best):
        logger.warning("the metric is %g below that of the float network, although every layer with weights is in float",
                       float_metric - (best.metric or 0))
    return best
