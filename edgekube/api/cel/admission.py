"""Expressions of admission policies and webhooks: what they may speak of, what they must come to, variables that build on others.

Source: k8s.io/apiserver pkg/admission/plugin/cel/{compile,composition,activation}.go and pkg/cel/mutation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from edgekube.api.cel import types
from edgekube.api.cel.authorizing import AUTHORIZER, RESOURCE_CHECK
from edgekube.api.cel.errors import CelError, CompileError, CostExceeded
from edgekube.api.cel.program import CONDITIONS_BUDGET, Budget, Program, compile_expression, no_structs
from edgekube.api.cel.types import BOOL, DYN, INT, STRING, TIMESTAMP, Type
from edgekube.api.cel.values import Struct, Timestamp

OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
_MOST_PROGRAMS = 512
_TEXTS = types.list_of(STRING)
_LABELS = types.map_of(STRING, STRING)


def _object(title: str, /, **fields: Type) -> Type:
    return types.object_of(f"kubernetes.{title}", {one: (kind, one) for one, kind in fields.items()})


_KIND = _object("GroupVersionKind", group=STRING, version=STRING, kind=STRING)
_RESOURCE = _object("GroupVersionResource", group=STRING, version=STRING, resource=STRING)
_USER = _object("UserInfo", username=STRING, uid=STRING, groups=_TEXTS, extra=types.map_of(STRING, _TEXTS))
REQUEST = _object(
    "AdmissionRequest",
    kind=_KIND, resource=_RESOURCE, subResource=STRING, requestKind=_KIND, requestResource=_RESOURCE,
    requestSubResource=STRING, name=STRING, namespace=STRING, operation=STRING, userInfo=_USER, dryRun=BOOL, options=DYN,
)  # fmt: skip
NAMESPACE = _object(
    "Namespace",
    metadata=_object(
        "NamespaceMetadata",
        name=STRING, generateName=STRING, namespace=STRING, labels=_LABELS, annotations=_LABELS, UID=STRING,
        creationTimestamp=TIMESTAMP, deletionGracePeriodSeconds=INT, deletionTimestamp=TIMESTAMP, generation=INT,
        resourceVersion=STRING, finalizers=_TEXTS,
    ),
    spec=_object("NamespaceSpec", finalizers=_TEXTS),
    status=_object(
        "NamespaceStatus",
        conditions=types.list_of(
            _object(
                "NamespaceCondition", status=STRING, type=STRING, lastTransitionTime=TIMESTAMP, message=STRING, reason=STRING
            )
        ),
        phase=STRING,
    ),
)  # fmt: skip
OBJECT, JSON_PATCH = "Object", "JSONPatch"


class _AnyField(Mapping[str, tuple[Type, str]]):
    """The fields of an object nothing is known of: all, and each may be anything."""

    def __getitem__(self, name: str) -> tuple[Type, str]:
        return DYN, name

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


_ANY_FIELD = _AnyField()
_PATCH = types.object_of(
    JSON_PATCH, {"op": (STRING, "op"), "path": (STRING, "path"), "from": (STRING, "from"), "value": (DYN, "value")}
)
APPLIED = types.object_of(OBJECT, _ANY_FIELD)
PATCHES = types.list_of(_PATCH)


def patch_structs(name: str) -> Type | None:
    """What mutations may make: Object, Object.spec..., JSONPatch."""
    if name == JSON_PATCH:
        return _PATCH
    return types.object_of(name, _ANY_FIELD) if name == OBJECT or name.startswith(f"{OBJECT}.") else None


def declared_name(t: Type) -> str:
    """A type as it stands in "must evaluate to"."""
    return f"{t.name}({', '.join(map(declared_name, t.params))})" if t.params else t.name


# ------------------------------------------------------------------------------------------------- compiling


@lru_cache(maxsize=_MOST_PROGRAMS)
def _kept(text: str, params: bool, authorizer: bool, patching: bool) -> Program | CompileError:
    return _compile(text, _variables(params, authorizer), patching)


def _variables(params: bool, authorizer: bool) -> dict[str, Type]:
    made = {"object": DYN, "oldObject": DYN, "namespaceObject": NAMESPACE, "request": REQUEST}
    if params:
        made["params"] = DYN
    if authorizer:
        made |= {"authorizer": AUTHORIZER, "authorizer.requestResource": RESOURCE_CHECK}
    return made


def _compile(text: str, variables: Mapping[str, Type], patching: bool) -> Program | CompileError:
    try:
        return compile_expression(text, variables, structs=patch_structs if patching else no_structs, patching=patching)
    except CompileError as problem:
        return CompileError(f"compilation failed: {problem}")


class Scope:
    """What the expressions of one policy may speak of. Variables are added in their order; each sees those before it."""

    def __init__(
        self,
        *,
        params: bool = False,
        patching: bool = False,
        composed: bool = False,
        types_of: Mapping[str, Type] | None = None,
    ) -> None:
        """`composed`: there are variables. `types_of`: better types than "anything", for checking only."""
        self._params, self._patching, self._types = params, patching, types_of
        self._composed: dict[str, tuple[Type, str]] | None = {} if composed else None

    def compile(self, text: str, *wanted: Type, authorizer: bool = True) -> Program:
        """A program that comes to one of `wanted` (anything, if none is named). Raises CompileError."""
        if self._composed is None and self._types is None:
            made = _kept(text, self._params, authorizer, self._patching)
        else:
            made = _compile(text, self._declared(authorizer), self._patching)
        if isinstance(made, CompileError):
            raise made
        if wanted and made.type not in wanted:
            names = [declared_name(one) for one in wanted]
            shown = names[0] if len(names) == 1 else f"one of [{' '.join(names)}]"
            raise CompileError(f"must evaluate to {shown} but got {declared_name(made.type)}")
        return made

    def add(self, name: str, text: str) -> Program:
        """A variable. Raises CompileError; it may be spoken of nevertheless."""
        assert self._composed is not None, "a scope without variables"
        self._composed[name] = (DYN, name)
        program = self.compile(text)
        if program.type.kind not in ("object", "opaque", "type", "null"):
            self._composed[name] = (program.type, name)
        return program

    def _declared(self, authorizer: bool) -> dict[str, Type]:
        made = {**_variables(self._params, authorizer), **(self._types or {})}
        if self._composed is not None:
            made["variables"] = types.object_of("kubernetes.variables", dict(self._composed))
        return made


def checked(text: str, *wanted: Type, scope: Scope, authorizer: bool = True) -> str:
    """What is wrong with an expression; "" if nothing is."""
    try:
        scope.compile(text, *wanted, authorizer=authorizer)
    except CompileError as problem:
        return str(problem)
    return ""


# ------------------------------------------------------------------------------------------------- evaluating


class Variables(dict[str, Any]):
    """Values of variables, found when they are first asked for."""

    def __init__(
        self, programs: Mapping[str, Program | CompileError], bindings: dict[str, Any], budget: Budget
    ) -> None:
        super().__init__()
        self._programs, self._bindings, self._budget = programs, bindings, budget
        self._failed: dict[str, CelError] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._programs

    def __missing__(self, name: str) -> Any:
        if name in self._failed:
            raise self._failed[name]
        program = self._programs.get(name)
        if program is None:
            raise KeyError(name)
        try:
            if isinstance(program, CompileError):
                raise CelError(f'composited variable "{name}" fails to compile: {program}')
            self[name] = program.evaluate(self._bindings, self._budget)
        except CostExceeded:
            raise
        except CelError as problem:
            words = (
                str(problem)
                if isinstance(program, CompileError)
                else f'composited variable "{name}" fails to evaluate: {problem}'
            )
            self._failed[name] = CelError(words)
            raise self._failed[name] from None
        return self[name]


def evaluated(program: Program | CompileError, bindings: Mapping[str, Any], budget: Budget) -> Any:
    """The value of one expression. Raises CelError worded as policies report it; CostExceeded when the budget is spent."""
    if isinstance(program, CompileError):
        raise CelError(f"compilation error: {program}")
    try:
        return program.evaluate(bindings, budget)
    except CelError as problem:
        raise CelError(f"expression '{program.text}' resulted in error: {problem}") from None
    finally:
        if budget.left < 0:
            raise CostExceeded(OUT_OF_BUDGET)


def conditions_hold(programs: Sequence[Program | CompileError], bindings: Mapping[str, Any]) -> bool | list[str]:
    """Whether all match conditions are true; or, if none is false, why some cannot be told."""
    budget, failures = Budget(CONDITIONS_BUDGET), list[str]()
    for program in programs:
        try:
            if evaluated(program, bindings, budget) is not True:
                return False
        except CelError as problem:
            failures.append(str(problem))
    return list(dict.fromkeys(failures)) or True


def compiled_conditions(texts: Iterable[str], scope: Scope) -> list[Program | CompileError]:
    """Programs of match conditions, or what is wrong with them."""
    made: list[Program | CompileError] = []
    for text in texts:
        try:
            made.append(scope.compile(text.strip(), BOOL))
        except CompileError as problem:
            made.append(problem)
    return made


def namespace_value(document: Mapping[str, Any] | None) -> Any:
    """A Namespace as `namespaceObject`; None where there is none."""
    from edgekube.api.cel.core import timestamp

    if document is None:
        return None
    metadata = dict(document.get("metadata") or {})
    for name in ("managedFields", "ownerReferences", "selfLink"):
        metadata.pop(name, None)
    metadata["UID"] = metadata.pop("uid", "")
    for name in ("creationTimestamp", "deletionTimestamp"):
        if isinstance(metadata.get(name), str):
            metadata[name] = timestamp(metadata[name])
    return {"metadata": metadata, "spec": document.get("spec") or {}, "status": document.get("status") or {}}


# ------------------------------------------------------------------------------------------------- what was made


def plain(value: Any) -> Any:
    """A value as JSON. Raises CelError for what JSON cannot say."""
    from edgekube.api.cel.core import duration_text, timestamp_text
    from edgekube.api.cel.values import Duration

    if value is None or value.__class__ in (str, bool, int):
        return value
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, Timestamp):
        return timestamp_text(value)
    if isinstance(value, Duration):
        return duration_text(value)
    if isinstance(value, bytes):
        import base64

        return base64.b64encode(value).decode()
    raise CelError(f"unsupported type: {value.__class__.__name__}")


def misnamed(value: Any, path: str = OBJECT) -> list[str]:
    """Objects that are called otherwise than the place they stand in: Object.spec{selector: Object.spec.wrong{}}."""
    found: list[str] = []
    if isinstance(value, Struct):
        if value.name != path:
            words = "which matches field name path from root Object type"
            found.append(f'unexpected type name "{value.name}", expected "{path}", {words}')
        for name, one in value.items():
            found += misnamed(one, f"{path}.{name}")
    elif isinstance(value, list):
        for one in value:
            found += misnamed(one, path)
    elif isinstance(value, dict):
        for one in value.values():
            found += misnamed(one, path)
    return found
