"""botocore's service models as a source of tests: inputs that fit them, inputs that break one bound each, and a judge of answers.

Everything here is read off the models, so an operation or a member that AWS adds is tested as soon as botocore is raised. What
no model says (which member names which channel, say) comes from `values`, a dictionary by member name.
"""

import copy
import re

import botocore.session

_SESSION = botocore.session.get_session()

# JSON values by their JSON type, as the wire has them.
_OF_JSON_TYPE = {"string": "7", "integer": 7, "fraction": 5.5, "boolean": True, "list": [], "object": {}}
_JSON_TYPE = {
    "string": "string", "integer": "integer", "long": "integer", "list": "list", "structure": "object", "map": "object",
    "boolean": "boolean",
}

# Characters outside every pattern, and those that only the wide patterns of tags take.
_NEVER = ["!", "\n", "\0", "\U0001f600"]
_TAGS_ONLY = [" ", "ä", "é", "٣"]


def operation(service, name):
    return _SESSION.get_service_model(service).operation_model(name)


def operations(service):
    return list(_SESSION.get_service_model(service).operation_names)


def sample(shape, values, name=None):
    """A value that fits: every member of every structure is there, lists have one element."""
    if name in values:
        return copy.deepcopy(values[name])
    if shape.type_name == "structure":
        return {member: sample(of, values, member) for member, of in shape.members.items()}
    if shape.type_name == "list":
        return [sample(shape.member, values)]
    if shape.type_name in ("integer", "long"):
        return shape.metadata["min"]
    assert shape.type_name == "string", shape
    return shape.enum[0] if shape.enum else text(shape, max(shape.metadata.get("min", 1), 1))


def text(shape, length, like=""):
    """A text of so many characters that fits the shape's pattern; for an ARN another one, whose region has a long name."""
    if _is_arn(shape):
        fields = like.split(":")
        fields[3] = "r" * (length - len(like) + len(fields[3]))
        return ":".join(fields)
    value = "a" * length
    assert "pattern" not in shape.metadata or "\\p" in shape.metadata["pattern"] or re.fullmatch(shape.metadata["pattern"], value)
    return value


def members(shape, path=()):
    """Every member below a structure as (path, shape, whether it is required); 0 in a path is a list's first element."""
    for name, of in shape.members.items():
        yield from _member((*path, name), of, name in shape.required_members)


def _member(path, shape, required):
    yield path, shape, required
    if shape.type_name == "structure":
        yield from members(shape, path)
    elif shape.type_name == "list":
        yield from _member((*path, 0), shape.member, False)


def within(shape, value):
    """Values at the edges of what a member may be, as (what, value)."""
    bounds = shape.metadata
    if shape.type_name == "string" and shape.enum:
        for choice in shape.enum:
            yield f"{choice}", choice
    elif shape.type_name == "string":
        if "min" in bounds and not _is_arn(shape):
            yield f"{bounds['min']} characters", text(shape, bounds["min"])
        if "max" in bounds:
            yield f"{bounds['max']} characters", text(shape, bounds["max"], value)
    elif shape.type_name == "list":
        if bounds.get("min") == 0:
            yield "no element", []
        if "max" in bounds:
            yield f"{bounds['max']} elements", [_numbered(value[0], n) for n in range(bounds["max"])]
    elif shape.type_name in ("integer", "long"):
        yield f"{bounds['min']}", bounds["min"]
        yield f"{bounds['max']}", bounds["max"]


def beyond(shape, value):
    """Values that break one bound of a member each, as (what, value)."""
    bounds = shape.metadata
    if shape.type_name == "string" and shape.enum:
        for wrong in ("", shape.enum[0].lower(), shape.enum[0] + " ", "NONE_OF_THEM"):
            yield f"{wrong!r} is no choice", wrong
    elif shape.type_name == "string":
        if bounds.get("min", 0) > 0 or "pattern" in bounds and not re.fullmatch(re.sub(r"\\p\{.\}", "", bounds["pattern"]), ""):
            yield "empty", ""
        if "max" in bounds:
            yield f"{bounds['max'] + 1} characters", text(shape, bounds["max"] + 1, value)
        if "pattern" in bounds:
            wide = "\\p{L}" in bounds["pattern"]
            for wrong in _NEVER if wide else _NEVER + _TAGS_ONLY:
                yield f"{wrong!r} at its end", value + wrong
                yield f"{wrong!r} at its start", wrong + value
        if _is_arn(shape):
            yield from _wrong_arns(value)
    elif shape.type_name == "list":
        if bounds.get("min", 0) > 0:
            yield "no element", []
        if "max" in bounds:
            yield f"{bounds['max'] + 1} elements", [_numbered(value[0], n) for n in range(bounds["max"] + 1)]
    elif shape.type_name in ("integer", "long"):
        for wrong in (bounds["min"] - 1, bounds["max"] + 1, -1, 2**31, 2**32 + bounds["min"], 2**63 - 1):
            yield f"{wrong}", wrong


def of_other_types(shape):
    """A value of each JSON type that the member does not have, as (what, value)."""
    for name, value in _OF_JSON_TYPE.items():
        if name != _JSON_TYPE[shape.type_name]:
            yield f"a {name}", value


def replaced(whole, path, value):
    """A copy of an input with another value at a path."""
    whole = copy.deepcopy(whole)
    _parent(whole, path)[path[-1]] = value
    return whole


def removed(whole, path):
    """A copy of an input without the member at a path."""
    whole = copy.deepcopy(whole)
    del _parent(whole, path)[path[-1]]
    return whole


def complaints(shape, value, lenient, name="output"):
    """What an answer's JSON has that its model does not know, or lacks; `lenient` names members whose bounds do not hold."""
    if value is None:
        return
    kind = shape.type_name
    right = {
        "string": str, "integer": int, "long": int, "timestamp": (int, float), "list": list, "structure": dict, "map": dict,
    }[kind]
    if not isinstance(value, right) or isinstance(value, bool):
        yield f"{name} is {value!r} instead of {kind}"
    elif kind == "structure":
        for member in value.keys() - shape.members.keys():
            yield f"{name} has {member}, which is in no model"
        for member in shape.members.keys() - value.keys():
            yield f"{name} has no {member}"
        for member in shape.members.keys() & value.keys():
            yield from complaints(shape.members[member], value[member], lenient, member)
    elif kind == "map":
        for key, entry in value.items():
            yield from complaints(shape.key, key, lenient, name)
            yield from complaints(shape.value, entry, lenient, name)
    else:
        if name not in lenient and not _within_bounds(shape, value):
            yield f"{name} is {value!r}, outside {dict(shape.metadata)}"
        for element in value if kind == "list" else []:
            yield from complaints(shape.member, element, lenient, name)


def _within_bounds(shape, value):
    bounds = shape.metadata
    size = len(value) if isinstance(value, (str, list)) else value
    if not bounds.get("min", size) <= size <= bounds.get("max", size):
        return False
    if getattr(shape, "enum", None) and value not in shape.enum:
        return False
    pattern = bounds.get("pattern")
    if pattern is None or "\\p" in pattern:
        return True
    return re.fullmatch(pattern, value) is not None


def _wrong_arns(value):
    head, _, resource = value.rpartition(":")
    word, name, time = resource.split("/")
    fields = head.split(":")
    other = "stream" if word == "channel" else "channel"
    yield "another service", ":".join([*fields[:2], "kinesis", *fields[3:], resource])
    yield "another kind of resource", f"{head}:{other}/{name}/{time}"
    yield "no account", ":".join([*fields[:4], "", resource])
    yield "no creation time", f"{head}:{word}/{name}"
    yield "a creation time that is none", f"{head}:{word}/{name}/then"
    yield "no name", f"{head}:{word}//{time}"
    yield "no ARN", "porch"


def _numbered(element, n):
    """Elements of a list that must differ, such as tags; the first is the element itself."""
    if n == 0:
        return element
    if isinstance(element, dict):
        return {key: f"{value}{n}" for key, value in element.items()}
    return element if element.isupper() else f"{element}{n}"


def _is_arn(shape):
    return "arn:" in shape.metadata.get("pattern", "")


def _parent(whole, path):
    for step in path[:-1]:
        whole = whole[step]
    return whole
