"""Recordings: reading, resampling, log-mel spectrograms, augmentation, fingerprints.

This file implements the modality's interface. The other files are imported on first use, so that runs on other data do
not load them.
"""

import io
import math
import wave
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from regraft.contracts.example import SHOWN, Content, Contents, Example, File, Inline
from regraft.contracts.family import Card
from regraft.contracts.modality import MODALITIES, Modality, Placement, Record, Shapes, View
from regraft.errors import BadRequest, Undecodable
from regraft.files import shortened
from regraft.identity import derive_seed, digest_bytes, digest_contents, digest_file
from regraft.recipe import preset
from regraft.values import Notice, notices
from regraft.words import counted, named

ENDINGS = frozenset(("wav", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff", "aifc", "au", "caf", "w64"))
"""Extensions of files treated as recordings, in any case."""
SILENT = 1e-4
"""Peak below which a recording counts as silent: 80 dB below full scale."""
FULL, CLIPPED = 0.9999, 0.001
"""Magnitude from which a sample is at full scale; share of such samples above which a recording counts as clipped."""
REST = 0.2
"""Seconds at the end of a recording to transcribe that make no piece of their own, since decoders make up words there.
Our choice."""
GOLDEN = ((8000, 1, 0.6), (16000, 1, 1.3), (44100, 2, 0.9), (16000, 1, 3.1))
"""Sampling rate, channels and seconds of each golden recording."""


class SoundModality(Modality):
    """Speech, music or noise: one recording per file."""

    name = "sound"
    recorder = "microphone"
    one, many = "recording", "recordings"
    layout = 1
    measured = (
        ("seconds", "<f8"),
        ("rate_hz", "<i4"),
        ("channels", "<i4"),
        ("peak", "<f4"),  # full scale is 1
        ("clipped", "<f4"),  # share of samples at full scale
    )
    near_copy_rule = "none"
    standalone_packages = ("soundfile", "Pillow")

    def __getattr__(self, name: str) -> Any:
        if name == "Preparation":
            from regraft.modalities.sound.prepare import Preparation

            return Preparation
        if name == "Augmentation":
            from regraft.modalities.sound.augment import Augmentation

            return Augmentation
        raise AttributeError(name)

    def claims(self, name: str, head: Callable[[], bytes]) -> bool:
        return "." in name and name.rpartition(".")[2].lower() in ENDINGS

    def fingerprint(self, contents: Contents, limit: int = 0) -> Shaped[np.ndarray, ""]:
        from regraft.modalities.sound import reading

        row, content = np.zeros((), dtype=self.row), reading.only(contents)
        try:
            row["content"] = _bytes(self.identity(contents)[0])
            with reading.opened(content) as file:
                heard, peak, full = [f"{file.samplerate} {file.channels}".encode()], 0.0, 0
                for block in reading.blocks(file, str(content)):
                    size = np.abs(block)
                    peak, full = max(peak, float(size.max())), full + int((size >= FULL).sum())
                    heard.append(_digest(block))
                row["seconds"], row["rate_hz"] = file.frames / file.samplerate, file.samplerate
                row["channels"], row["peak"] = file.channels, peak
                row["clipped"] = full / (file.frames * file.channels)
                row["decoded"] = _bytes(digest_bytes(*heard))
        except Undecodable as error:
            row["error"] = shortened(error.reason)
        return row

    def identity(self, contents: Contents) -> tuple[str, bool]:
        from regraft.modalities.sound import reading
        from regraft.modalities.text.read import text_of

        content = reading.only(contents)
        if isinstance(content, File):
            try:
                found = digest_file(content.path)
            except OSError as error:
                raise Undecodable(f"it cannot be read ({error.strerror})", str(content)) from error
        else:
            found = digest_contents(reading.bytes_of(content))
        if SHOWN in contents:
            found = digest_bytes(found.encode(), text_of(contents[SHOWN]).encode(errors="surrogatepass"))
        return found, False

    def near_copies(self, prints: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, "m 2"]:
        return np.zeros((0, 2), dtype=np.int64)

    def reader(self, *, optional: bool = False) -> str:
        from regraft.modalities.sound import reading

        return reading.reader()

    def augmentation(self, name: str, changes: Mapping[str, Any]) -> Any:
        from regraft.modalities.sound.augment import PRESETS

        return preset(PRESETS, name, changes, what="augmentation of recordings")

    def bridged(self, card: Card) -> Card | None:
        taken = MODALITIES.get(card.modality).shapes(card.preparation)
        for (shape, _), wanted in ((one, "pixels") for one in taken.values()):
            if len(taken) == 1 and wanted in taken and len(shape) == 3:
                height, width, channels = (size or 1 for size in shape)
                made = self.Preparation(input_px=(height, width), channels=channels)
                if self.shapes(made) == dict(taken):
                    return replace(card, modality=self.name, preparation=made)
        return None

    def check(self, examples: Sequence[Example], prints: Shaped[np.ndarray, " n"], card: Card) -> Sequence[Notice]:
        prepared = card.preparation
        told = []

        def tell(which: np.ndarray, text: str) -> None:
            if which.any():
                some = named((examples[at].id for at in np.flatnonzero(which).tolist()), 3)
                told.append(f"{counted(int(which.sum()), self.one, self.many)} of {len(examples):,} {text} ({some}).")

        tell(prints["peak"] < SILENT, "are silent: no sample above -80 dB relative to full scale")
        tell(prints["clipped"] > CLIPPED, "are clipped: more than 0.1 % of the samples are at full scale")
        tell(prints["channels"] > 1, "have several channels, which are averaged")
        tell(
            prints["rate_hz"] != prepared.rate_hz,
            f"have a different sampling rate and are resampled to {prepared.rate_hz:,} Hz",
        )
        longer = prints["seconds"] > prepared.seconds + 0.01
        if not prepared.step_seconds:
            several = "" if prepared.max_target_tokens else ", prepare.step_seconds cuts recordings into several"
            tell(longer, f"are longer than {prepared.seconds:g} s and cropped to the middle; prepare.seconds "
                         f"sets longer pieces{several}")  # fmt: skip
        return notices([*told, *prepared.cut_off(examples)])

    def pieces(self, contents: Contents, preparation: Any) -> int:
        transcribed = preparation.max_target_tokens and SHOWN not in contents
        step = preparation.seconds if transcribed else preparation.step_seconds
        if not step:
            return 1
        from regraft.modalities.sound import reading

        with reading.opened(reading.only(contents)) as file:
            beyond = file.frames / file.samplerate - preparation.seconds - (REST if transcribed else 0)
        return 1 + max(0, math.ceil(round(beyond / step, 6)))

    def load(self, contents: Contents, preparation: Any, view: View | None, piece: int = 0) -> tuple[Record, Placement]:
        from regraft.modalities.sound import augment, reading

        start = piece * preparation.step_seconds if preparation.step_seconds else None
        if preparation.max_target_tokens and self.pieces(contents, preparation) > 1:
            start = piece * preparation.seconds
        content, rate_hz = reading.only(contents), preparation.rate_hz
        samples = reading.stretch(content, start, preparation.seconds, rate_hz)
        written = {"decoder": preparation.shown(contents)} if preparation.max_target_tokens else {}
        if view is None or not view.augmentation.varies:
            return {**preparation.record(preparation.features(samples)), **written}, {}
        length = round(preparation.seconds * rate_hz)
        samples, heard, masked = augment.augmented(samples, rate_hz, length, view)
        samples = samples if preparation.form == "mel" else samples[:heard]
        return {**preparation.record(masked(preparation.features(samples))), **written}, {}

    def shapes(self, preparation: Any) -> Shapes:
        if preparation.input_px:
            return {"pixels": ((*preparation.input_px, preparation.channels), "uint8")}
        if preparation.form == "samples":
            length = round(preparation.seconds * preparation.rate_hz)
            return {"samples": ((length,), "float32"), "heard": ((1,), "int32")}
        if preparation.form != "mel":
            return {preparation.form: ((preparation.frames, preparation.num_bands), "float32")}
        decoder: Shapes = {"decoder": ((None,), "int32")} if preparation.max_target_tokens else {}
        return {"mel": ((preparation.num_bands, preparation.frames), "float32"), **decoder}

    def golden(self, seed: int, preparation: Any) -> list[Contents]:
        return [
            {"file": Inline(_wave(samples, rate))} for samples, (rate, _, _) in zip(_golden(seed), GOLDEN, strict=True)
        ]

    def golden_digests(self, seed: int, preparation: Any) -> list[str]:
        return [digest_bytes(samples.tobytes()) for samples in _golden(seed)]

    def given(self, value: Any) -> Contents:
        if isinstance(value, bytes | bytearray):
            return {"file": Inline(bytes(value))}
        if isinstance(value, str | Path):
            return {"file": File(Path(value).expanduser().absolute())}
        if _is_samples(value):
            samples = np.clip(np.asarray(value[0], dtype=np.float64), -1, 1)
            return {
                "file": Inline(_wave(np.rint(samples * 32767).astype("<i2").reshape(len(samples), -1), int(value[1])))
            }
        raise Undecodable(f"it is a {type(value).__name__}; expected a path, the bytes of a file, or a pair of "
        "samples in "
                          "[-1, 1] and their sampling rate in Hz")  # fmt: skip

    def is_one(self, value: Any) -> bool:
        return isinstance(value, str | Path | bytes | bytearray) or _is_samples(value)

    def standalone(self) -> str:
        from regraft.modalities.sound.standalone import SCRIPT

        return SCRIPT

    def outside(self, preparation: Any) -> Any:
        if preparation.step_seconds:
            raise BadRequest("An example of this model has several pieces, but exported models accept a single row.",
                             fix="train without prepare.step_seconds, or predict with Regraft itself.")  # fmt: skip
        return preparation

    def explained(self, record: Record, weights: np.ndarray) -> bytes | str:
        from regraft.modalities.image.heat import heat_map

        return heat_map(record["pixels"], weights) if "pixels" in record else ""

    def preview(self, content: Content) -> bytes | str:
        from PIL import Image

        shown = self.Preparation(seconds=3.0, input_px=(80, 160))
        record, _ = self.load({"file": content}, shown, None)
        buffer = io.BytesIO()
        Image.fromarray(record["pixels"]).save(buffer, "PNG")
        return buffer.getvalue()


def _is_samples(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and np.ndim(value[0]) in (1, 2) and np.ndim(value[1]) == 0


def _bytes(digest: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(digest), dtype=np.uint8)


def _digest(block: np.ndarray) -> bytes:
    """Return the digest of the samples as 24-bit integers, equal for all lossless formats."""
    return bytes.fromhex(digest_contents(np.rint(block * float(1 << 23)).astype("<i8").tobytes()))


def _golden(seed: int) -> list[Int[np.ndarray, "s k"]]:
    """Return triangle-wave chirps with noise, computed with integer arithmetic from raw PCG64 output."""
    made = []
    for number, (rate, channels, seconds) in enumerate(GOLDEN):
        source, count = np.random.PCG64(derive_seed(seed, "golden sound", number)), round(seconds * rate)
        noise = (source.random_raw(count * channels) >> np.uint64(54)).astype(np.int64).reshape(count, channels) - 512
        at = np.arange(count, dtype=np.int64)[:, None]
        phase = at * (300 + 200 * np.arange(1, channels + 1) + 400 * at // count) % rate
        made.append((np.abs(phase * 4 * 6000 // rate - 2 * 6000) - 6000 + noise).astype("<i2"))
    return made


def _wave(samples: Int[np.ndarray, "s k"], rate_hz: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((samples.shape[1], 2, rate_hz, len(samples), "NONE", ""))
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


ENTRY = SoundModality()
