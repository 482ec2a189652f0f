"""A recipe is a value: it goes to TOML text and comes back equal, and what it cannot hold is refused by name."""

import math
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from regraft.errors import BadRecipe
from regraft.recipe import Recipe, Seen, Source, Target, parse_setting, read_recipe, with_settings, write_recipe

TEXTS = (
    "", " spaced ", 'quotes " and \\ backslash', "line\nbreak\ttab\r", "Grüße 猫 🙂", "# no comment", "a = 1", "[x]",
    "\x00\x1f\x7f\x85\u2028", "'''", '"""', "C:\\photos\\new",
)  # fmt: skip


def settings() -> list[tuple[str, Any, "Field[Any]"]]:
    """Every field that holds a value: its dotted name, its kind and itself."""
    found = []
    for kind, prefix in ((Recipe, ""), (Source, "source."), (Target, "target."), (Seen, "seen.")):
        hints = get_type_hints(kind)
        found += [(prefix + entry.name, hints[entry.name], entry) for entry in fields(kind)]
    return [one for one in found if not is_dataclass(one[1]) and one[0] not in ("options", "augment", "prepare")]


def another(hint: Any, entry: "Field[Any]") -> Any:
    """A value of that kind that is not the default."""
    if get_origin(hint) is Literal:
        return next(choice for choice in get_args(hint) if choice != entry.default)
    values = {bool: not entry.default, int: 7, float: 0.1 + 0.2, str: "é\n", tuple[str, ...]: ("a", "é\n")}
    return values[hint]


def through_text(recipe: Recipe, folder: Path) -> Recipe:
    (folder / "recipe.toml").write_text(write_recipe(recipe), encoding="utf-8")
    return read_recipe(folder / "recipe.toml")


def refused(path: Path, text: str) -> BadRecipe:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadRecipe) as caught:
        read_recipe(path)
    return caught.value


@pytest.mark.parametrize(("name", "hint", "entry"), settings(), ids=lambda value: value if type(value) is str else "")
def test_every_field_comes_back_from_text(name: str, hint: Any, entry: "Field[Any]", tmp_path: Path) -> None:
    value = another(hint, entry)
    changed = with_settings(Recipe(data="photos"), {name: value})
    assert changed != Recipe(data="photos")
    assert through_text(changed, tmp_path) == changed


@pytest.mark.parametrize(("name", "hint", "entry"), settings(), ids=lambda value: value if type(value) is str else "")
def test_a_value_of_another_kind_names_file_field_value_and_kind(
    name: str, hint: Any, entry: "Field[Any]", tmp_path: Path
) -> None:
    wrong = '"soon"' if hint in (bool, int, float) else "12"
    section, _, field = name.rpartition(".")
    table = f"[{section}]\n" if section else ""
    error = refused(
        tmp_path / "r.toml",
        f"{'' if name == 'data' else 'data = 1'}\n".replace("1", '"d"') + f"{table}{field} = {wrong}",
    )
    where = f"r.toml: [{section}]: {field} is" if section else f"r.toml: {field} is"
    assert where in error.message
    assert wrong.strip('"') in error.message
    words = {bool: "true or false", int: "an integer", float: "a number", str: "text"}
    words[tuple[str, ...]] = "a list of strings"
    assert words.get(hint, "one of") in error.message
    if get_origin(hint) is not Literal:
        assert f"write {field} = " in error.fix
        if entry.default is not MISSING:
            assert "the default" in error.fix


@pytest.mark.parametrize("text", TEXTS, ids=repr)
def test_any_text_comes_back(text: str, tmp_path: Path) -> None:
    recipe = Recipe(data=f"photos{text}", source=Source(group_pattern=text), options={"note": text, "list": [text]})
    assert through_text(recipe, tmp_path) == recipe


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e-5, 1e300, 5e-324, -0.0, 3.0, 0.0])
def test_numbers_come_back_to_the_last_digit(value: float, tmp_path: Path) -> None:
    found = through_text(Recipe(data="d", options={"lr": value}), tmp_path).options["lr"]
    assert (found, math.copysign(1, found), type(found)) == (value, math.copysign(1, value), float)


def test_options_of_every_kind_come_back(tmp_path: Path) -> None:
    options = {"flag": True, "count": -3, "share": 0.5, "name": "x", "many": [1, 2], "odd key!": {"inner": [0.5]}}
    recipe = Recipe(data="d", options=options)
    assert through_text(recipe, tmp_path) == recipe


def test_a_whole_number_does_where_a_number_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('data = "d"\nmax_seconds = 5\n')
    assert type(read_recipe(tmp_path / "r.toml").max_seconds) is float


def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_bytes(b'\xef\xbb\xbfdata = "d"\r\nseed = 3\r\n')
    assert read_recipe(tmp_path / "r.toml") == Recipe(data="d", seed=3)


@pytest.mark.parametrize(
    ("text", "found", "near"),
    [
        ("thread = 1", "there is no field 'thread'", "did you mean 'threads'?"),
        ("[source]\nval_shares = 0.1", "[source]: there is no field 'val_shares'", "did you mean 'val_share'?"),
        ("[sources]\nval_share = 0.1", "there is no field 'sources'", "did you mean 'source'?"),
        ("[seen]\nbackbones = 'x'", "[seen]: there is no field 'backbones'", "did you mean 'backbone'?"),
        ("zzz = 1", "there is no field 'zzz'", "choose one of: data, backbone,"),
        (
            "dtype = 'float61'",
            "dtype is 'float61'; it must be one of auto, float16, float32",
            "did you mean 'float16'?",
        ),
        ("source = 3", "source is 3; expected a section", "under [source]"),
        ("options = 'lr'", "options is 'lr'; expected a section", "under [options]"),
        ("seed = true", "seed is True; expected an integer", "write seed = 0"),
        ("seed = 1.0", "seed is 1.0; expected an integer", "write seed = 0"),
        ("max_seconds = true", "max_seconds is True; expected a number", "write max_seconds = 0.0"),
        ("max_seconds = 1" + "0" * 400, "expected a number", "write max_seconds = 0.0"),
    ],
)
def test_what_a_recipe_does_not_know_is_named_with_the_nearest(
    text: str, found: str, near: str, tmp_path: Path
) -> None:
    error = refused(tmp_path / "r.toml", f"data = 'd'\n{text}")
    assert f"{tmp_path / 'r.toml'}: " in error.message
    assert found in error.message
    assert near in error.fix


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("data", '""', "a path"), ("seed", "-1", "0 or more"), ("seed", str(2**63), "less than 2**63"),
        ("input_px", "-5", "0 or more"), ("views", "-2", "-1 or more"), ("folds", "1", "2 or more"),
        ("max_repeats", "0", "1 or more"), ("max_seconds", "-1.0", "0 or a positive number"),
        ("max_seconds", "nan", "0 or a positive number"), ("max_seconds", "inf", "0 or a positive number"),
        ("threads", "-3", "0 or more"), ("source.val_share", "1.0", "in [0, 1)"),
        ("source.val_share", "nan", "in [0, 1)"),
        ("source.test_share", "-0.1", "in [0, 1)"), ("source.max_damaged_share", "5", "in [0, 1]"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused_by_file_and_by_flag(
    name: str, value: str, wanted: str, tmp_path: Path
) -> None:
    section, _, field = name.rpartition(".")
    table = f"[{section}]\n" if section else ""
    error = refused(tmp_path / "r.toml", ("" if name == "data" else "data = 'd'\n") + f"{table}{field} = {value}")
    with pytest.raises(BadRecipe) as caught:
        with_settings(Recipe(data="d"), dict([parse_setting(f"{name}={value}")]))
    for where, said in (("r.toml: ", error), ("--set: ", caught.value)):
        assert where in said.message
        assert f"{field} is {parse_setting(f'x={value}')[1]!r}; it must be " in said.message
        assert wanted in said.message
        assert f"write {field} = " in said.fix


def test_every_default_lies_in_its_own_range() -> None:
    assert with_settings(Recipe(data="d"), {}) == Recipe(data="d")


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("options.lr=1e-4", ("options.lr", 1e-4)), ("seed=3", ("seed", 3)),
        ("source.rehash=true", ("source.rehash", True)),
        ("cut=4e", ("cut", "4e")), ('cut="4"', ("cut", "4")), ("cut=", ("cut", "")), ("data=a=b", ("data", "a=b")),
        (" cut =5a", ("cut", "5a")), ("x=[1, 2]", ("x", [1, 2])), ("x=a]\nb", ("x", "a]\nb")),
    ],
    ids=lambda value: repr(value) if type(value) is str else "",
)  # fmt: skip
def test_a_setting_is_read_as_toml_or_else_as_text(text: str, pair: tuple[str, object]) -> None:
    assert parse_setting(text) == pair


@pytest.mark.parametrize("text", ["seed", "=3", ""])
def test_a_setting_without_name_or_value_is_refused(text: str) -> None:
    with pytest.raises(BadRecipe, match="is not of the form path=value") as caught:
        parse_setting(text)
    assert "--set path=value" in caught.value.fix


def test_settings_override_what_they_name_and_nothing_else() -> None:
    before = Recipe(data="d", seed=1, source=Source(val_share=0.3), options={"lr": 0.1, "epochs": 3})
    after = with_settings(before, {"seed": 2, "source.test_share": 0.4, "options.lr": 0.2, "options.batch": 8})
    wanted = replace(before, seed=2, source=Source(val_share=0.3, test_share=0.4))
    assert after == replace(wanted, options={"lr": 0.2, "epochs": 3, "batch": 8})
    assert before.options == {"lr": 0.1, "epochs": 3}


@pytest.mark.parametrize(
    ("name", "found", "fix"),
    [
        ("sourse.rehash", "no section 'sourse' (sourse.rehash)", "did you mean 'source'?"),
        (
            "cut.x",
            "no section 'cut' (cut.x)",
            "choose one of: source, target, decision, options, augment, prepare, seen.",
        ),
        ("options.lr.x", "no section 'lr' (options.lr.x)", "--set options.lr=VALUE"),
        ("source.rehsh", "--set: [source]: there is no field 'rehsh'", "did you mean 'rehash'?"),
        ("", "--set: there is no field ''", "choose one of"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused(name: str, found: str, fix: str) -> None:
    with pytest.raises(BadRecipe) as caught:
        with_settings(Recipe(data="d", options={"lr": 0.1}), {name: 1})
    assert found in caught.value.message
    assert fix in caught.value.fix


def test_a_path_that_is_no_unicode_is_refused_before_it_is_written() -> None:
    with pytest.raises(BadRecipe, match="not valid Unicode") as caught:
        with_settings(Recipe(data="caf\udce9"), {})
    assert caught.value.message.isascii()
    assert "rename" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "found"),
    [("seed = \n", "is not valid TOML: Invalid value (at line 1"), ("data = 'a'\ndata = 'b'", "is not valid TOML"),
     ("seed = 3", "'data' is missing"), ("", "'data' is missing")],
)  # fmt: skip
def test_a_file_that_is_no_recipe_is_named(text: str, found: str, tmp_path: Path) -> None:
    error = refused(tmp_path / "r.toml", text)
    assert str(tmp_path / "r.toml") in error.message
    assert found in error.message


def test_a_missing_file_a_folder_and_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_bytes(b"data = '\xff'")
    for path, found in ((tmp_path / "none.toml", "cannot be read"), (tmp_path, "cannot be read"),
                        (tmp_path / "b.toml", "not valid TOML")):  # fmt: skip
        with pytest.raises(BadRecipe, match=found) as caught:
            read_recipe(path)
        assert str(path) in caught.value.message


@pytest.mark.parametrize(
    "text", ['format = 1\ndata = "photos"\n', 'data = "photos"\n[seen]\nbackbone = "def"\ndata = "abc"\n']
)
def test_a_recipe_of_an_earlier_format_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(BadRecipe, match="format 1; this version of regraft reads format 2"):
        read_recipe(path)
