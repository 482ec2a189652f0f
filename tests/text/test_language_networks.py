"""Language models cut into stages: their loss equals the library's own on the same windows, and so does what they
write."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from problems import opened
from regraft.activations.slots import stacked
from regraft.backbones.backbone import Backbone
from regraft.contracts.example import Inline
from regraft.contracts.modality import MODALITIES, View
from regraft.contracts.task import TASKS
from regraft.errors import BadRequest
from texts import CONFIGS, language_folder, language_network

pytest.importorskip("transformers")
KINDS = [kind for kind in CONFIGS if kind != "t5"]
QUICK = ("bert", "gpt2")
TEXTS = ("the old apple lies on my table and there of a plum a saw lies", "my hammer", "a nail on the old table there")


@pytest.fixture(
    scope="module", params=[one if one in QUICK else pytest.param(one, marks=pytest.mark.slow) for one in KINDS]
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def backbone(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return opened(f"language:{language_folder(kind, tmp_path_factory.mktemp(kind))}@pretrained")


def rows(
    backbone: Backbone, view: View | None = None, **changes: Any
) -> tuple[Any, dict[str, torch.Tensor], list[int]]:
    """The preparation, and all windows of the texts as one batch, with their bytes."""
    from dataclasses import replace

    text = MODALITIES.get("text")
    preparation = replace(text.itself(backbone.card.preparation, "tokens"), max_tokens=12, **changes)
    made = []
    for one in TEXTS:
        contents = {"text": Inline(one)}
        made += [text.load(contents, preparation, view, at) for at in range(text.pieces(contents, preparation))]
    arrays = stacked([record for record, _ in made])
    return (
        preparation,
        {name: torch.from_numpy(one) for name, one in arrays.items()},
        [int(p["bytes"]) for _, p in made],
    )


def test_at_every_cut_the_loss_is_the_librarys_on_the_same_windows(kind: str, backbone: Backbone) -> None:
    preparation, batch, _ = rows(backbone)
    network, net, task = backbone.network, language_network(kind), TASKS.get("language")(())
    head = task.head({}, 0.0, network.source_head).eval()
    told = {"token_type_ids": batch["types"].long()} if "types" in batch else {}
    labels = torch.where(batch["truth"] > 0, batch["truth"].long() - 1, -100)
    if preparation.predicts == "next":  # the library moves them by one
        labels = torch.cat([torch.full_like(labels[:, :1], -100), labels[:, :-1]], dim=1)
    pad = net.config.pad_token_id or 0
    with torch.no_grad():
        expected = net(
            input_ids=batch["ids"].long().masked_fill(~batch["mask"], pad), attention_mask=batch["mask"].long(),
            labels=labels, **told,
        ).loss  # fmt: skip
        for cut in backbone.cuts:
            state = network.run(batch, upto=cut, keep=("truth",))
            stored = {name: torch.from_numpy(one.numpy().copy()) for name, one in state.items()}
            top = network.run(stored, after=cut, keep=("truth",))
            truth = batch["truth"] if cut == "input" else top["tap.truth"]
            found = head({"tokens": network.readouts(top)["tokens"], "truth": truth})
            assert float(found["nll"].sum() / found["tokens"].sum()) == pytest.approx(float(expected), abs=1e-4)
            assert found["tokens"].tolist() == (batch["truth"] > 0).sum(dim=1).tolist()


def test_a_prompt_is_written_on_and_masks_are_filled_in_as_the_library_does(kind: str, backbone: Backbone) -> None:
    network, net = backbone.network, language_network(kind)
    assert network.generate is not None
    assert network.source_head is not None
    preparation, batch, _ = rows(backbone)
    ids = batch["ids"][:1].clone()
    with torch.no_grad():
        if preparation.predicts == "next":
            told: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False}
            wanted = net.generate(input_ids=ids.long(), attention_mask=torch.ones_like(ids), pad_token_id=0, **told)
            wanted = wanted[:, ids.shape[1] :]
        else:
            ids[0, 3], told = 4, {"mask": 4}
            shown = {"token_type_ids": batch["types"][:1].long()} if "types" in batch else {}
            said = net(input_ids=ids.long(), attention_mask=batch["mask"][:1].long(), **shown).logits.argmax(dim=-1)
            wanted = torch.where(ids == 4, said, ids.long())
        state = {**{name: one[:1] for name, one in batch.items()}, "ids": ids}
        found = network.generate(network, state, "input", network.source_head, told)
    assert found.tolist() == wanted.tolist()


def test_every_token_is_predicted_once_by_its_windows_and_the_bytes_are_those_of_the_text(
    kind: str, backbone: Backbone
) -> None:
    preparation, batch, sizes = rows(backbone, hidden=0.999)
    given = [len(one.split()) for one in TEXTS]
    counts = (batch["truth"] > 0).sum().item()
    assert counts == sum(given)  # after [CLS] a causal model predicts the first word as well
    assert sum(sizes) == sum(map(len, TEXTS))
    assert batch["ids"].shape[0] > len(TEXTS)
    assert batch["ids"].shape[1] <= 12
    assert preparation.vocabulary == 32


def test_masks_differ_by_view_and_repeat(kind: str, backbone: Backbone) -> None:
    def view(number: int, seed: int = 0) -> View:
        return View(number=number, seed=seed, content="", augmentation=None)

    plain, again, first, second, other = (
        rows(backbone, one)[1]["truth"].tolist() for one in (None, None, view(1), view(2), view(1, seed=1))
    )
    assert plain == again
    varies = MODALITIES.get("text").varies(None, rows(backbone)[0])
    assert varies == (backbone.card.preparation.predicts == "masked")
    assert (plain != first) == (first != second) == (first != other) == varies


@pytest.mark.parametrize("saved", ["bare", "tied"])
def test_a_checkpoint_without_an_output_layer_is_given_its_embeddings(saved: str, tmp_path: Path) -> None:
    kind = {"bare": "bert", "tied": "gpt2"}[saved]
    found = opened(f"language:{language_folder(kind, tmp_path / 'net', bare=True)}@pretrained")
    words = next(one for name, one in found.network.tensors().items() if "word" in name and name.startswith("emb"))
    head = found.network.source_head
    assert head is not None
    torch.testing.assert_close(head[0].weight, words)  # type: ignore[index]
    assert ("used as one" in found.card.notes[-1]) == (saved == "bare")


def test_networks_that_predict_no_tokens_are_refused_with_what_to_do() -> None:
    text = MODALITIES.get("text")
    with pytest.raises(BadRequest, match="does not predict tokens") as caught:
        text.itself(opened("minilm_l6@random").card.preparation, "tokens")
    assert "language:" in caught.value.fix
    with pytest.raises(BadRequest, match="images have none"):
        MODALITIES.get("image").itself(None, "tokens")
    np.testing.assert_array_equal(TASKS.get("language")(()).encode(["", ""]), [0, 0])
