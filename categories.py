"""Categories: the kinds of object that a model knows, with their ids and names.

Each model has its own categories. `coco.CATEGORIES` are those of torchvision's trained models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

YOURS = "your own"
"""The group of the kinds that a person named and the model does not know."""
LONGEST_NAME = 100
"""The number of characters that a name may have."""


JOINERS = str.maketrans("", "", "\u200c\u200d")
"""Invisible characters that some scripts need between letters."""


def is_printed(name: str) -> bool:
    """Whether all characters of a name can be printed."""
    return name.translate(JOINERS).isprintable()


class Category(NamedTuple):
    """One kind of object.

    Args:
        id: Its number, which detections hold. 0 is the background, and no category.
        name: Its name.
        supercategory: The name of the group that it belongs to.
        plural: The name of two or more, such as "people" for "person". None if nobody has given it.
    """

    id: int
    name: str
    supercategory: str = "object"
    plural: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns the category as COCO's annotation files hold it."""
        return {"id": self.id, "name": self.name, "supercategory": self.supercategory}


@dataclass(frozen=True)
class Categories:
    """Kinds of object, each with an id and a name of its own, in the order in which files list them.

    Args:
        members: The categories.

    Raises:
        ValueError: Two categories have the same id or the same name.
    """

    members: tuple[Category, ...]

    def __post_init__(self) -> None:
        if not len(self.members) == len(self.by_id) == len(self.by_name):
            raise ValueError("expected categories with an id and a name of their own, two have the same")

    def __iter__(self) -> Iterator[Category]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    @classmethod
    def named(cls, names: Iterable[str]) -> Categories:
        """Returns categories of these names with the ids 1, 2, 3 and so on, and without plurals."""
        return cls(tuple(Category(id, name) for id, name in enumerate(names, start=1)))

    def with_names(self, names: Iterable[str]) -> Categories:
        """Returns these categories, and one more for each name that is not among them, with the next ids."""
        new = [name for name in dict.fromkeys(names) if name and name not in self.by_name]
        first = max(self.by_id, default=0) + 1
        more = tuple(Category(id, name, YOURS) for id, name in enumerate(new, first))
        return Categories(self.members + more) if more else self

    @cached_property
    def by_id(self) -> dict[int, Category]:
        return {category.id: category for category in self.members}

    @cached_property
    def by_name(self) -> dict[str, Category]:
        return {category.name: category for category in self.members}

    def name_of(self, id: int) -> str:
        """Returns the name of a category, or "category 12" for an id such as 12 that none has.

        Only an untrained network gives such an id.
        """
        category = self.by_id.get(id)
        return category.name if category else f"category {id}"

    def counted(self, name: str, count: int) -> str:
        """Returns a number of objects in words, such as "3 people" or "1 bus".

        A name whose plural is not known may be of any language. So it stays as it is, as in "3 x leaf".
        """
        plural = self.by_name[name].plural if name in self.by_name else None
        if plural is None:
            return f"{count} x {name}"
        return f"{count} {name if count == 1 else plural}"

    def as_json(self) -> list[dict[str, Any]]:
        """Returns the categories as COCO's annotation files hold them."""
        return [category.as_json() for category in self.members]
