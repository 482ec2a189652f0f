"""The Python door, as far as it goes without a run."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import regraft
from regraft.doors.python import _recipe, parameters_for_flags
from regraft.errors import BadRecipe, BadRequest, RegraftError
from regraft.recipe import Recipe


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, colour in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for at in range(3):
            Image.new("RGB", (40, 40), colour).save(folder / f"plant{at}-{name}.png")
    return tmp_path / "photos"


def test_every_name_is_offered_and_an_unknown_one_is_not() -> None:
    assert set(dir(regraft)) == set(regraft.__all__)
    assert callable(regraft.fit)
    assert isinstance(regraft.__version__, str)
    with pytest.raises(AttributeError, match="fitt"):
        _ = regraft.fitt


def test_an_opened_data_set_is_fitted_as_it_was_opened(photos: Path) -> None:
    data = regraft.open_dataset(photos, group_pattern=r"(plant\d)")
    assert data.classes == ("blue", "red")
    recipe, given = _recipe(data, {"strategy": "partial"})
    assert given is data
    assert (recipe.data, recipe.source.group_pattern, recipe.strategy) == (str(photos), r"(plant\d)", "partial")


def test_a_subset_is_fitted_and_not_the_whole(photos: Path, tmp_path: Path) -> None:
    data = regraft.open_dataset(photos)
    some = data.select(range(1, data.num_examples))
    run = regraft.fit(some, backbone="googlenet:tiny@random", input_px=32, out=tmp_path / "run", quiet=True)
    assert run.report.data.examples == data.num_examples - 1


def test_a_data_set_made_by_hand_is_refused(photos: Path) -> None:
    data = replace(regraft.open_dataset(photos), recipe=None)
    with pytest.raises(BadRequest, match="was not opened by"):
        regraft.fit(data, quiet=True)


def test_a_recipe_is_taken_with_changes() -> None:
    assert _recipe(Recipe(data="photos"), {"seed": 3}) == (Recipe(data="photos", seed=3), None)


def test_unknown_fields_are_refused_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadRecipe, match="did you mean 'seed'"):
        regraft.fit("photos", sead=3)
    with pytest.raises(BadRecipe, match="did you mean 'group_column'"):
        regraft.open_dataset("photos", group_colum="x")
    with pytest.raises(RegraftError, match="does not exist"):
        regraft.open_dataset("photos")
    assert list(tmp_path.iterdir()) == []


def advice() -> Iterator[str]:
    """Every piece of advice in the sources that names a flag of the command line."""
    for path in sorted(Path(regraft.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "fix":
                parts = node.value.values if isinstance(node.value, ast.JoinedStr) else [node.value]
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "NAME" for part in parts)
                if "--" in text:
                    yield text


def in_python(fix: str) -> str:
    with pytest.raises(RegraftError) as caught, parameters_for_flags():
        raise BadRequest("no", fix=fix)
    return caught.value.fix


def test_no_advice_of_an_error_names_a_flag_in_python() -> None:
    found = list(advice())
    assert len(found) > 25
    for fix in found:
        outside_commands = "".join(in_python(fix).split("`")[::2])
        assert "--" not in outside_commands, fix


@pytest.mark.parametrize(
    ("fix", "expected"),
    [
        ("leave --cut out, or use --allow-leaks.", "leave `cut` out, or use source={'allow_leaks': True}."),
        ("lower it: --set options.lr=VALUE, a tenth.", "lower it: options={'lr': VALUE}, a tenth."),
        ("keep float32 (--set dtype=float32); else", "keep float32 (dtype='float32'); else"),
        ("--set options.mixup=0.2 mixes inputs.", "options={'mixup': 0.2} mixes inputs."),
        ("clear it with `regraft cache --clear`.", "clear it with `regraft cache --clear`."),
    ],
)
def test_a_flag_becomes_the_parameter_that_it_sets(fix: str, expected: str) -> None:
    assert in_python(fix) == expected


def test_advice_from_python_refuses_what_the_verb_refuses(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(RegraftError, match="no candidates to choose from"):
        regraft.advise(photos, out=tmp_path / "out", backbones=[], quiet=True)
