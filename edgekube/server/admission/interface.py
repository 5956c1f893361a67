"""What an admission step is: something that may change an object on its way in, or refuse it.

Steps see one `Review` and read the rest of the cluster through `Cluster`; they write nothing. Source: k8s.io/apiserver
pkg/admission/interfaces.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from edgekube.api.kind import Kind
from edgekube.api.meta import DeleteOptions, Object
from edgekube.server.context import Context

T = TypeVar("T", bound=Object)

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"


@dataclass(slots=True, kw_only=True)
class Review:
    """One write under review. `item` is the new state (steps may change it in place; None for DELETE), `old` the present one."""

    kind: Kind[Any]
    operation: str
    namespace: str
    name: str
    context: Context
    item: Any = None
    old: Any = None
    subresource: str = ""
    through: str = ""  # the subresource through which the whole object is written; `view`: what clients see of it there
    view: Callable[[Any], dict[str, Any]] | None = None
    options: DeleteOptions | None = None
    subresource_object: bool = False  # `item` is a document of another kind (a Scale, options of a connection)
    of_collection: bool = False  # one of many that go together: its name was not in the request
    changed: bool = False  # a webhook or policy changed it: all steps are asked once more
    again: bool = False  # this is that second time
    memory: dict[str, Any] = field(default_factory=dict)  # what a step remembers of the first, by its name

    @property
    def asked_subresource(self) -> str:
        """As the request named it."""
        return self.subresource or self.through

    @property
    def resource(self) -> str:
        """ "/pods", "apps/deployments": what steps compare to find out whether they are concerned."""
        return f"{self.kind.group}/{self.kind.plural}"


class Cluster(Protocol):
    """Everything that is stored, decoded. What it hands out is shared and never to be mutated."""

    def find(self, kind: Kind[T], namespace: str, name: str) -> T | None: ...

    def all(self, kind: Kind[T], namespace: str = "") -> Sequence[T]:
        """Objects of a namespace, or of all ("")."""
        ...


class Step:
    """Base of all steps: concerned with nothing, changes nothing, refuses nothing."""

    name = ""

    async def mutate(self, review: Review, cluster: Cluster) -> None:
        """Change `review.item` in place, or refuse by raising an ApiError."""

    async def prepare(self, review: Review, cluster: Cluster) -> None:
        """Give the object what only the server can give, after its kind prepared it and before its rules are asked."""

    async def validate(self, review: Review, cluster: Cluster) -> None:
        """Refuse by raising an ApiError; `review.item` is final."""

    async def connect(self, review: Review, cluster: Cluster) -> None:
        """Refuse a connection (exec, attach, port-forward, proxy); `review.item` is a document with its options."""

    async def listens(self) -> bool:
        """Whether `connect` has anything to say at all at this moment."""
        return False

    async def settle(self, review: Review, cluster: Cluster, *, stored: bool) -> None:
        """The write this step said yes to was stored, or was not: give back what was reserved."""


class Chain:
    """All steps in their order."""

    def __init__(self, steps: Sequence[Step], cluster: Cluster) -> None:
        self._cluster = cluster

        def taking(part: str) -> tuple[Step, ...]:
            return tuple(step for step in steps if getattr(type(step), part) is not getattr(Step, part))

        # most steps have one part; asking the others for nothing would cost every write
        self._mutating, self._preparing = taking("mutate"), taking("prepare")
        self._validating, self._settling = taking("validate"), taking("settle")
        self._connecting = taking("connect")

    async def mutate(self, review: Review) -> None:
        """First half: changes. Where somebody outside changed the object, all are asked a second time."""
        for step in self._mutating:
            await step.mutate(review, self._cluster)
        if review.changed:
            review.again = True
            for step in self._mutating:
                await step.mutate(review, self._cluster)

    async def connect(self, review: Review) -> None:
        """All of it, for a connection."""
        for step in self._connecting:
            await step.connect(review, self._cluster)

    async def listens(self) -> bool:
        """Whether anybody outside wishes to see connections and objects that are not stored."""
        for step in self._connecting:
            if await step.listens():
                return True
        return False

    async def prepare(self, review: Review) -> None:
        """What the server gives."""
        for step in self._preparing:
            await step.prepare(review, self._cluster)

    async def validate(self, review: Review) -> None:
        """Second half: refusals."""
        for step in self._validating:
            await step.validate(review, self._cluster)

    async def settle(self, review: Review, *, stored: bool) -> None:
        """How it ended."""
        for step in self._settling:
            await step.settle(review, self._cluster, stored=stored)
