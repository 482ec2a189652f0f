"""Weights from files: what is read, what is refused, and what the digests see."""

import hashlib
import http.server
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from problems import opened
from regraft.backbones import googlenet
from regraft.backbones.backbone import Backbone, family_of
from regraft.backbones.opening import open_backbone
from regraft.errors import WeightsError, WeightsMismatch, WeightsMissing
from regraft.nn.torchvision import torchvision_models
from regraft.values import Notice

PX = 32
State = dict[str, Tensor]


def original(variant: str = "tiny") -> nn.Module:
    """The variant's original module with seeded weights and statistics as if it had been trained."""
    torch.manual_seed(5)
    made: nn.Module = googlenet.ENTRY.build(replace(googlenet.ENTRY.card(variant), num_source_classes=7)).original
    for name, tensor in made.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    return made.eval()


@pytest.fixture(scope="module")
def state() -> State:
    return {name: tensor.clone() for name, tensor in original().state_dict().items()}


def saved(state: Any, path: Path) -> Path:
    torch.save(state, path)
    return path


def of_file(path: Path, name: str = "googlenet:tiny") -> Backbone:
    return opened(f"{name}@file:{path}", PX)


FORMS: dict[str, Callable[[State, Path], Path]] = {
    "a state dict": lambda state, folder: saved(state, folder / "net.pth"),
    "wrapped": lambda state, folder: saved({"state_dict": state, "epoch": 3}, folder / "net.pth"),
    "of DataParallel": lambda state, folder: saved({f"module.{k}": v for k, v in state.items()}, folder / "net.pth"),
    "in the old format": lambda state, folder: (
        torch.save(state, folder / "net.pth", _use_new_zipfile_serialization=False) or folder / "net.pth"
    ),
    "with side heads": lambda state, folder: saved({**state, "aux1.fc1.weight": torch.ones(3, 3)}, folder / "net.pth"),
    "without counters": lambda state, folder: saved(
        {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}, folder / "net.pth"
    ),
    "safetensors": lambda state, folder: save_file(state, folder / "net.safetensors") or folder / "net.safetensors",
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_in_any_form_give_the_originals_logits(form: str, state: State, tmp_path: Path) -> None:
    backbone = of_file(FORMS[form](state, tmp_path))
    pixels = torch.randint(0, 256, (2, PX, PX, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = backbone.network({"pixels": pixels})
        expected = original()(backbone.network.start({"pixels": pixels})["hidden"])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert backbone.card.num_source_classes == 7
    assert backbone.card.weights.startswith("file:net.")


def test_the_same_tensors_in_another_form_are_the_same_backbone(state: State, tmp_path: Path) -> None:
    digests = {of_file(form(state, tmp_path)).digest() for form in FORMS.values()}
    assert len(digests) == 1


def test_half_precision_in_a_file_is_widened(state: State, tmp_path: Path) -> None:
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    backbone = of_file(saved(half, tmp_path / "half.pth"))
    assert {array.dtype for array in backbone.tensors().values()} == {np.dtype(np.float32)}
    widened = {name: value.float() if value.is_floating_point() else value for name, value in half.items()}
    assert backbone.digest() == of_file(saved(widened, tmp_path / "wide.pth")).digest()


def test_a_file_without_the_classifier_gives_a_backbone_without_one(state: State, tmp_path: Path) -> None:
    headless = {name: value for name, value in state.items() if not name.startswith("fc.")}
    backbone = of_file(saved(headless, tmp_path / "headless.pth"))
    assert backbone.card.num_source_classes == 0
    assert backbone.network.source_head is None
    assert backbone.digest() == of_file(saved(state, tmp_path / "whole.pth")).digest()


@pytest.mark.parametrize("variant", ["tiny", "half", "torchvision", "paper"])
def test_the_variant_is_read_from_the_tensors(variant: str, tmp_path: Path) -> None:
    path = saved(original(variant).state_dict(), tmp_path / "net.pth")
    assert of_file(path, "googlenet").card.variant == variant


def test_weights_of_another_architecture_are_refused_by_the_tensors_names(state: State, tmp_path: Path) -> None:
    path = saved(state, tmp_path / "net.pth")
    with pytest.raises(WeightsMismatch) as raised:
        of_file(path, "resnet18")
    assert str(path) in raised.value.message
    assert "conv1.weight is missing" in raised.value.message
    assert re.search(r"and \d+ more", raised.value.message)
    assert "but match googlenet:tiny" in raised.value.message
    assert raised.value.fix == f"--backbone googlenet:tiny@file:{path}"


def test_the_nearest_variant_is_named_where_none_fits(state: State, tmp_path: Path) -> None:
    broken = {**state, "inception3a.extra": torch.ones(1)}
    with pytest.raises(WeightsMismatch, match=r"nearest variant: tiny\): inception3a.extra is not part of it"):
        of_file(saved(broken, tmp_path / "net.pth"), "googlenet")


def test_where_nothing_fits_the_listing_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatch) as raised:
        of_file(saved({"a": torch.ones(1)}, tmp_path / "net.pth"), "resnet18")
    assert "regraft backbones" in raised.value.fix


def test_weights_of_another_variant_than_the_one_named_are_refused(state: State, tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatch, match=r"has shape .* instead of"):
        of_file(saved(state, tmp_path / "net.pth"), "googlenet:half")


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("as_torch", [True, False])
def test_a_file_that_would_run_code_is_refused_and_runs_none(as_torch: bool, tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "it-ran"
    if as_torch:
        torch.save({"weight": torch.ones(1), "evil": Evil(trace)}, path)
    else:
        path.write_bytes(pickle.dumps(Evil(trace)))
    with pytest.raises(WeightsError):
        of_file(path)
    assert not trace.exists()


def test_a_whole_model_instead_of_its_tensors_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(WeightsError, match="contains more than tensors") as raised:
        of_file(tmp_path / "model.pth")
    assert "state_dict" in raised.value.fix


@pytest.mark.parametrize(
    "content", [b"", b"hello", "half", [1, 2], {"a": 3}], ids=["empty", "text", "cut", "list", "numbers"]
)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_damaged_file_is_named(content: Any, suffix: str, state: State, tmp_path: Path) -> None:
    path = tmp_path / f"net.{suffix}"
    if content == "half":
        whole = FORMS["safetensors" if suffix == "safetensors" else "a state dict"](state, tmp_path)
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif suffix == "pth":
        torch.save(content, path)
    else:
        path.write_text(str(content))
    with pytest.raises(WeightsError, match=re.escape(str(path))):
        of_file(path)


@pytest.mark.parametrize("name", ["missing.pth", "."])
def test_a_path_without_a_file_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=re.escape(str(tmp_path / name))):
        of_file(tmp_path / name)


def test_without_shipped_weights_the_error_says_what_there_is() -> None:
    with pytest.raises(WeightsMissing) as raised:
        opened("vgg16", 64)
    assert "vgg16@imagenet" in raised.value.fix
    assert "vgg16@file:PATH" in raised.value.fix


def with_one_changed(state: State, name: str) -> State:
    return {key: value + 0.01 if key == name else value for key, value in state.items()}


@pytest.mark.parametrize(
    ("tensor", "stage"),
    [
        ("conv1.conv.weight", "stem"),
        ("conv3.bn.running_mean", "stem"),
        ("inception3a.branch1.bn.running_var", "3a"),
        ("inception4e.branch1.bn.bias", "4e"),
        ("inception5b.branch1.conv.weight", "5b"),
        ("fc.weight", ""),
    ],
)
def test_a_cuts_digest_changes_with_what_lies_below_it_and_with_nothing_else(
    tensor: str, stage: str, state: State, tmp_path: Path
) -> None:
    assert tensor in state
    plain = of_file(saved(state, tmp_path / "plain.pth"))
    other = of_file(saved(with_one_changed(state, tensor), tmp_path / "changed.pth"))
    stages = plain.card.stages
    reached = stages.index(stage) + 1 if stage else len(stages) + 1
    differ = [plain.digest(cut) != other.digest(cut) for cut in plain.cuts]
    assert differ == [position >= reached for position in range(len(plain.cuts))]


def test_a_counter_of_batches_changes_no_digest(state: State, tmp_path: Path) -> None:
    counted = {name: value + 1 if name.endswith("num_batches_tracked") else value for name, value in state.items()}
    plain, other = (of_file(saved(s, tmp_path / f"{i}.pth")) for i, s in enumerate((state, counted)))
    assert plain.digest() == other.digest()


def test_the_normalisation_changes_every_digest(state: State, tmp_path: Path) -> None:
    plain = of_file(saved(state, tmp_path / "net.pth"))
    other = replace(plain, card=replace(plain.card, mean=(0.5, 0.5, 0.5)))
    assert all(plain.digest(cut) != other.digest(cut) for cut in plain.cuts)


def test_a_conversion_that_was_cut_short_is_made_again(state: State, tmp_path: Path) -> None:
    path = saved(state, tmp_path / "net.pth")
    first = of_file(path)
    whole = first.tensors_path.read_bytes()
    first.tensors_path.write_bytes(whole[:-100])
    again = of_file(path)
    assert again.tensors_path.read_bytes() == whole
    assert again.digest() == first.digest()


def test_training_a_copy_leaves_the_shared_network_alone(state: State, tmp_path: Path) -> None:
    backbone = of_file(saved(state, tmp_path / "net.pth"))
    copy = backbone.fresh_network()
    assert all(module.training for module in copy.stages.values())
    assert not any(module.training for module in backbone.network.stages.values())
    with torch.no_grad():
        for tensor in copy.tensors().values():
            tensor.zero_()
    assert any(tensor.abs().max() > 0 for tensor in backbone.network.tensors().values())


@pytest.mark.parametrize("spec", ["googlenet:tiny@random", "googlenet:paper@random", "resnet18@random"])
def test_a_copy_has_the_files_tensors_and_leaves_the_random_state_alone(spec: str) -> None:
    backbone = opened(spec, PX)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    copy = backbone.fresh_network()
    assert torch.equal(torch.random.get_rng_state(), before)
    stored = backbone.tensors()
    assert all(np.array_equal(tensor.detach().numpy(), stored[name]) for name, tensor in copy.tensors().items())


OPEN_AGAIN = """
import sys
from regraft.backbones.opening import open_backbone
opening = open_backbone(sys.argv[1], input_px=32)
try:
    while True: next(opening)
except StopIteration as stop:
    print(stop.value.digest(), stop.value.digest(stop.value.card.partial_cut))
assert not {"torch", "torchvision", "scipy", "sklearn", "onnx", "onnxruntime"} & set(sys.modules)
"""


@pytest.mark.parametrize("weights", ["random", "file"])
def test_opening_a_second_time_loads_no_torch(
    weights: str, state: State, tmp_path: Path, child_env: dict[str, str]
) -> None:
    spec = "googlenet:tiny@random" if weights == "random" else f"googlenet@file:{saved(state, tmp_path / 'net.pth')}"
    first = opened(spec, PX)
    command = [sys.executable, "-c", OPEN_AGAIN, spec]
    done = subprocess.run(command, env=child_env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [first.digest(), first.digest(first.card.partial_cut)]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[nn.Module, str]]:
    """torchvision's network that maps its input itself, its file on a local server, and the server's address."""
    torch.manual_seed(2)
    net = torchvision_models().googlenet(weights=None, transform_input=True, aux_logits=True, init_weights=False)
    for name, tensor in net.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
    folder = tmp_path / "published"
    folder.mkdir()
    torch.save(net.state_dict(), folder / "googlenet-test.pth")
    sha256 = hashlib.sha256((folder / "googlenet-test.pth").read_bytes()).hexdigest()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        known = googlenet.ENTRY.published["imagenet"]
        entry = replace(known, url=f"{address}/googlenet-test.pth", sha256=sha256[:8])
        monkeypatch.setattr(googlenet, "ENTRY", replace(googlenet.ENTRY, published={"imagenet": entry}))
        yield net.eval(), address
        server.shutdown()


def same_as_torchvision(backbone: Backbone, net: nn.Module) -> None:
    """torchvision normalises by ImageNet's mean and maps back inside; our card says 0.5 and 0.5 from the start."""
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = net(((pixels / 255 - mean) / std).permute(0, 3, 1, 2))
        found = backbone.network({"pixels": pixels})
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert backbone.card.mean == backbone.card.std == (0.5, 0.5, 0.5)


def test_published_weights_are_fetched_and_give_torchvisions_numbers(published: tuple[nn.Module, str]) -> None:
    net, address = published
    opening, events = open_backbone("googlenet@imagenet", input_px=64), list[Any]()
    while True:
        try:
            events.append(next(opening))
        except StopIteration as stop:
            backbone = stop.value
            break
    same_as_torchvision(backbone, net)
    assert backbone.card.name == "googlenet:torchvision@imagenet"
    assert backbone.card.source.startswith(address)
    assert any(isinstance(event, Notice) and "auxiliary heads" in event.text for event in events)


def test_a_published_file_given_by_its_path_keeps_the_published_normalisation(
    published: tuple[nn.Module, str], tmp_path: Path
) -> None:
    net, _ = published
    same_as_torchvision(opened(f"googlenet@file:{tmp_path / 'published' / 'googlenet-test.pth'}", 64), net)
    renamed = saved(net.state_dict(), tmp_path / "another.pth")
    assert opened(f"googlenet@file:{renamed}", 64).card.mean != (0.5, 0.5, 0.5)


def test_the_shared_checkpoint_opens(shared_weights: Path) -> None:
    path = shared_weights / "googlenet-short.pth"
    if not path.is_file():
        pytest.skip(f"no checkpoint: {path} is absent")
    backbone = opened(f"googlenet@file:{path}", 64)
    assert (backbone.card.variant, backbone.card.num_source_classes) == ("torchvision", 393)
    net = torchvision_models().googlenet(weights=None, aux_logits=False, num_classes=393, init_weights=False)
    net.load_state_dict({k: v.float() for k, v in torch.load(path, weights_only=True).items()}, strict=False)
    pixels = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net.eval()(backbone.network.start({"pixels": pixels})["hidden"])
        torch.testing.assert_close(backbone.network({"pixels": pixels}), expected, rtol=1e-5, atol=1e-5)


def test_position_embeddings_are_interpolated_and_the_class_tokens_is_kept() -> None:
    positions = torch.randn(1, 197, 8, generator=torch.Generator().manual_seed(0))
    family, _ = family_of("vit_b_16")
    card = family.card("torchvision")
    (found,) = family.adapt({"encoder.pos_embedding": positions}, card.with_input(48)).values()
    grid = positions[:, 1:].permute(0, 2, 1).reshape(1, 8, 14, 14)
    expected = nn.functional.interpolate(grid, size=3, mode="bicubic", align_corners=True)
    assert torch.equal(found[:, :1], positions[:, :1])
    torch.testing.assert_close(found[:, 1:], expected.reshape(1, 8, 9).permute(0, 2, 1))
    assert family.adapt({"encoder.pos_embedding": positions}, card)["encoder.pos_embedding"] is positions


@pytest.mark.slow
def test_a_vision_transformer_of_another_input_size_equals_torchvisions(tmp_path: Path) -> None:
    models = torchvision_models()
    torch.manual_seed(1)
    trained = models.vit_b_16(weights=None, num_classes=5)
    nn.init.normal_(trained.heads.head.weight)
    path = saved(trained.state_dict(), tmp_path / "vit.pth")
    other = models.vit_b_16(weights=None, num_classes=5, image_size=48).eval()
    other.load_state_dict(models.vision_transformer.interpolate_embeddings(48, 16, trained.state_dict()))
    backbone = opened(f"vit_b_16@file:{path}", 48)
    pixels = torch.randint(0, 256, (2, 48, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = other(backbone.network.start({"pixels": pixels})["hidden"])
        torch.testing.assert_close(backbone.network({"pixels": pixels}), expected, rtol=1e-4, atol=1e-4)
    assert backbone.digest() != opened(f"vit_b_16@file:{path}", 32).digest()
