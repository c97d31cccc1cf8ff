"""Post-training quantization of ONNX networks, and an integer runtime for CPUs.

    import bitfold

    quantized = bitfold.quantize("model.onnx", samples)
    quantized.save("model.int8.onnx")
    outputs = quantized.session().run({"x": array})
"""

from bitfold._core import Error, version as __version__
from bitfold._evaluate import Comparison, Evaluation, ValueComparison, compare, evaluate
from bitfold._model import Model, ValueInfo, load
from bitfold._quantize import Layer, Quantized, RecipeField, quantize, recipe_fields
from bitfold._session import Session, Step

Error.__module__ = "bitfold"

__all__ = [
    "Comparison", "Error", "Evaluation", "Layer", "Model", "Quantized", "RecipeField", "Session", "Step", "ValueComparison",
    "ValueInfo", "__version__", "compare", "evaluate", "load", "quantize", "recipe_fields",
]
