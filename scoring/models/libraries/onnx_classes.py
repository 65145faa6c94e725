"""The classes of an ONNX classifier, and its probabilities as a matrix."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PROBABILITY_TYPES = ("tensor(float)", "tensor(double)")
LABEL_ATTRIBUTES = ("classlabels_int64s", "classlabels_strings", "classlabels_ints")


def remove_maps(model: Any) -> Mapping[str, tuple[Any, ...]]:
    """Replace outputs that are a dictionary a row by the tensor that they are made of.

    Building the dictionaries takes longer than the prediction.

    Returns:
        The labels of each replaced output.
    """
    import onnx

    labels: dict[str, tuple[Any, ...]] = {}
    graph = model.graph

    for node in [node for node in graph.node if node.op_type == "ZipMap"]:
        (output,) = [output for output in graph.output if output.name == node.output[0]]
        (attribute,) = node.attribute
        tensor = node.input[0]
        labels[tensor] = _labels(attribute)

        graph.node.remove(node)
        shape = [None, len(labels[tensor])]
        output.CopyFrom(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, shape))

    return labels


def _labels(attribute: Any) -> tuple[Any, ...]:
    return tuple(attribute.ints) or tuple(value.decode() for value in attribute.strings)


def find_classes(
    prediction: Any,
    others: Sequence[Any],
    model: Any,
    labels: Mapping[str, tuple[Any, ...]],
    problems: list[str],
) -> tuple[str | None, tuple[Any, ...] | None]:
    """The output of probabilities beside the label's, and the classes.

    Args:
        prediction: The first output.
        others: All other outputs.
        model: The graph.
        labels: Those that `remove_maps` returned.
        problems: Gets what does not fit a table.
    """
    if len(others) > 1 or others[0].type not in PROBABILITY_TYPES:
        shown = ", ".join(f"{output.name} ({output.type})" for output in (prediction, *others))
        problems.append(f"outputs: {shown}: not a label and probabilities")
        return None, None

    name, shape = others[0].name, others[0].shape
    width = shape[1] if len(shape) == 2 and isinstance(shape[1], int) else None
    is_text = prediction.type == "tensor(string)"

    for candidate in (labels.get(name), *_candidates(model)):
        if not candidate or isinstance(candidate[0], str) != is_text:
            continue
        if width is None or width == len(candidate):
            return name, tuple(candidate)

    problems.append(
        f"output {name}: the graph does not say which classes its {width or ''} columns are"
    )
    return None, None


def _candidates(model: Any) -> Iterator[tuple[Any, ...]]:
    """Labels of classes: attributes of classifiers, and what labels are picked from."""
    from onnx import numpy_helper

    constants = {constant.name: constant for constant in model.graph.initializer}

    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in LABEL_ATTRIBUTES:
                yield _labels(attribute)

        source = constants.get(node.input[0]) if len(node.input) else None
        if node.op_type != "ArrayFeatureExtractor" or source is None or source.external_data:
            continue

        values = numpy_helper.to_array(source).reshape(-1).tolist()
        yield tuple(value.decode() if isinstance(value, bytes) else value for value in values)
