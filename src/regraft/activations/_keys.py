"""Names of many rows, made one at a time: a list of them would take some hundred bytes a row."""

from collections.abc import Iterator, Sequence
from typing import overload

from regraft.activations.slots import RowKey


class Keys(Sequence[RowKey]):
    """The row keys of some examples in some views: example by example, its views next to each other."""

    def __init__(self, contents: Sequence[str], examples: Sequence[int], views: Sequence[str]) -> None:
        """`contents` holds the content digest of every example of the data set."""
        self._contents, self._examples, self._views = contents, examples, views

    def __len__(self) -> int:
        return len(self._examples) * len(self._views)

    @overload
    def __getitem__(self, index: int) -> RowKey: ...
    @overload
    def __getitem__(self, index: slice) -> list[RowKey]: ...
    def __getitem__(self, index: int | slice) -> RowKey | list[RowKey]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        example, view = divmod(range(len(self))[index], len(self._views))
        return RowKey(self._contents[self._examples[example]], self._views[view])

    def __iter__(self) -> Iterator[RowKey]:
        for example in self._examples:
            content = self._contents[example]
            for view in self._views:
                yield RowKey(content, view)
