"""Samples, resampling, log-mel features and views against references."""

import io
import wave
from pathlib import Path

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile", reason="the extra `sound` is not installed")

from regraft.contracts.example import File, Inline  # noqa: E402
from regraft.contracts.modality import MODALITIES, View  # noqa: E402
from regraft.errors import BadRecipe, MissingExtra, Undecodable  # noqa: E402
from regraft.modalities.sound import reading  # noqa: E402
from regraft.modalities.sound.mel import log_mel  # noqa: E402
from regraft.modalities.sound.prepare import Preparation  # noqa: E402
from regraft.modalities.sound.resample import resampled  # noqa: E402

SOUND = MODALITIES.get("sound")


def tones(rate_hz: int, seconds: float, hertz: tuple[float, ...] = (220.0, 1000.0, 3100.0)) -> np.ndarray:
    at = np.arange(round(rate_hz * seconds)) / rate_hz
    return sum(np.sin(2 * np.pi * one * at + one) for one in hertz) * (0.8 / len(hertz))


def wav(samples: np.ndarray, rate_hz: int = 16000) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1 if samples.ndim == 1 else samples.shape[1], 2, rate_hz, len(samples), "NONE", ""))
        file.writeframes(np.rint(samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def contents(data: bytes) -> dict[str, Inline]:
    return {"file": Inline(data)}


def noisy_tones() -> np.ndarray:
    return (tones(16000, 2.0) + np.random.default_rng(0).normal(0, 0.01, 32000)).astype(np.float32)


def test_log_mel_features_are_those_of_whispers_extractor() -> None:
    """Some columns of what the extractor of transformers 5.24 gave; the test below, marked slow, asks it again."""
    prepared = Preparation(seconds=2.0)
    found = prepared.record(prepared.features(noisy_tones()))["mel"]
    assert found.shape == (80, 200)
    wanted = np.load(Path(__file__).parent / "whisper_mel.npy")
    assert np.abs(found[:, [0, 1, 37, 100, 198, 199]] - wanted).max() < 1e-4


@pytest.mark.slow
def test_log_mel_features_are_those_of_the_installed_extractor() -> None:
    from regraft.nn.torchvision import torchvision_models

    torchvision_models()  # declares what transformers would miss
    whisper = pytest.importorskip("transformers", reason="the reference is transformers' extractor")
    extractor = whisper.WhisperFeatureExtractor(feature_size=80, chunk_length=2)
    wanted = extractor(noisy_tones(), sampling_rate=16000, return_tensors="np")["input_features"][0]
    prepared = Preparation(seconds=2.0)
    assert np.abs(prepared.record(prepared.features(noisy_tones()))["mel"] - wanted).max() < 1e-4


@pytest.mark.parametrize("source", [8000, 22050, 44100, 48000])
def test_resampling_errs_by_less_than_80_db_in_the_pass_band(source: int) -> None:
    hertz = tuple(np.linspace(100, 0.9 * min(source, 16000) / 2, 12))
    made = resampled(tones(source, 1.0, hertz).astype(np.float32), source, 16000)
    wanted, inside = tones(16000, 1.0, hertz), slice(1600, 14400)  # away from the ends, where silence begins
    error = np.sqrt(np.mean((made[inside] - wanted[inside]) ** 2) / np.mean(wanted[inside] ** 2))
    assert 20 * np.log10(error) < -80


@pytest.mark.parametrize("source", [16000, 44100])
def test_a_window_of_a_long_file_is_what_the_whole_file_has_there(tmp_path: Path, source: int) -> None:
    (tmp_path / "long.wav").write_bytes(wav(tones(source, 5.0), source))
    whole = reading.stretch(File(tmp_path / "long.wav"), 0.0, 5.0, 16000)
    window = reading.stretch(File(tmp_path / "long.wav"), 2.0, 1.0, 16000)
    assert len(window) == 16000
    assert np.abs(window - whole[32000:48000]).max() < 1e-3


def test_stereo_is_averaged_and_every_format_gives_the_same(tmp_path: Path) -> None:
    both = np.stack([tones(16000, 0.5, (400.0,)), tones(16000, 0.5, (900.0,))], axis=1)
    soundfile.write(tmp_path / "a.flac", both, 16000, subtype="PCM_16")
    found = [
        SOUND.load(one, Preparation(seconds=0.5), None)[0]["mel"]
        for one in (contents(wav(both)), contents((tmp_path / "a.flac").read_bytes()), contents(wav(both.mean(axis=1))))
    ]
    assert np.abs(found[0] - found[1]).max() < 5e-3
    assert np.abs(found[0] - found[2]).max() < 0.05  # rounded to 16 bits before and after


@pytest.mark.parametrize("ending", ["ogg", "mp3"])
def test_compressed_formats_are_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, tones(16000, 0.5), 16000)
    print_ = SOUND.fingerprint({"file": File(path)})
    assert not print_["error"]
    assert abs(float(print_["seconds"]) - 0.5) < 0.1


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    whole = wav(tones(16000, 0.5))
    bad = {"empty": b"", "no samples": wav(np.zeros(0)), "text": b"no sound at all, only words", "cut": whole[:9000]}
    for name, data in bad.items():
        (tmp_path / f"{name}.wav").write_bytes(data)
        error = bytes(SOUND.fingerprint({"file": File(tmp_path / f"{name}.wav")})["error"]).decode()
        assert error, name
        wanted = {"empty": "0 bytes", "no samples": "no samples", "text": "libsndfile"}.get(name, "")
        assert wanted in error
    with pytest.raises(Undecodable, match="is empty"):
        SOUND.load({"file": File(tmp_path / "empty.wav")}, Preparation(), None)
    with pytest.raises(Undecodable, match="a pair of samples"):
        SOUND.given(3)


@pytest.mark.parametrize(("value", "told"), [(np.nan, "not finite"), (1e30, "beyond 2,147,483,648")])
def test_floating_point_samples_that_are_no_sound_are_refused_to_train_on_and_to_predict(
    value: float, told: str, tmp_path: Path
) -> None:
    samples = tones(16000, 0.5)
    for name, first in (("whole", 30000.0), ("odd", value)):
        samples[0] = first
        soundfile.write(tmp_path / f"{name}.wav", samples, 16000, subtype="FLOAT")
    whole, odd = ({"file": File(tmp_path / f"{name}.wav")} for name in ("whole", "odd"))
    assert told in bytes(SOUND.fingerprint(odd)["error"]).decode()
    with pytest.raises(Undecodable, match=told):
        SOUND.load(odd, Preparation(), None)
    assert not bytes(SOUND.fingerprint(whole)["error"]).rstrip(b"\0")
    SOUND.load(whole, Preparation(), None)


def test_silence_and_clipping_are_measured() -> None:
    silent, loud = SOUND.fingerprint(contents(wav(np.zeros(8000)))), np.clip(4 * tones(16000, 0.5), -1, 1)
    assert silent["peak"] == 0
    assert not silent["error"]
    assert SOUND.fingerprint(contents(wav(loud)))["clipped"] > 0.1
    assert SOUND.fingerprint(contents(wav(tones(16000, 0.5))))["clipped"] == 0
    dark = SOUND.load(contents(wav(np.zeros(8000))), Preparation(input_px=(32, 32)), None)[0]["pixels"]
    assert dark.max() == 0


def test_pieces_cover_the_whole_recording() -> None:
    data, prepared = contents(wav(tones(16000, 3.1))), Preparation(seconds=1.0, step_seconds=0.5)
    assert SOUND.pieces(data, prepared) == 6  # the last begins at 2.5 s
    assert SOUND.pieces(contents(wav(tones(16000, 0.4))), prepared) == 1
    assert SOUND.pieces(data, Preparation(seconds=1.0)) == 1
    records = [SOUND.load(data, prepared, None, piece)[0]["mel"] for piece in range(6)]
    assert {record.shape for record in records} == {(80, 100)}


def test_views_follow_from_their_number_and_differ_from_the_plain_one() -> None:
    data, prepared = contents(wav(noisy_tones()[:11200])), Preparation(seconds=1.0)
    strong = SOUND.augmentation("strong", {})
    views = [View(number=k, seed=0, content="aa", augmentation=strong) for k in (1, 2, 1)]
    plain, *made = (SOUND.load(data, prepared, view)[0]["mel"] for view in (None, *views))
    assert np.array_equal(made[0], made[2])
    assert not np.allclose(made[0], made[1])
    assert not np.allclose(made[0], plain)
    for name, value in (("speed", 0.2), ("shift", 0.3), ("noise", 0.5), ("time_masks", 2), ("band_masks", 2)):
        one = View(number=1, seed=0, content="aa", augmentation=SOUND.augmentation("none", {name: value}))
        assert not np.allclose(SOUND.load(data, prepared, one)[0]["mel"], plain), name
    with pytest.raises(BadRecipe, match=r"speed is 0\.9"):
        SOUND.augmentation("none", {"speed": 0.9})


def test_samples_with_their_rate_may_be_given() -> None:
    samples = tones(8000, 0.5)
    assert SOUND.is_one((samples, 8000))
    found = SOUND.load(SOUND.given((samples, 8000)), Preparation(), None)[0]["mel"]
    assert np.array_equal(found, SOUND.load(contents(wav(samples, 8000)), Preparation(), None)[0]["mel"])


def test_golden_recordings_are_the_same_everywhere() -> None:
    assert SOUND.golden_digests(0, None)[0] == "00ac08ca283a8615e1d2d8a966ac652bc29b5b08"


def test_out_of_range_preparations_are_refused() -> None:
    with pytest.raises(BadRecipe, match=r"prepare\.seconds is 0"):
        Preparation(seconds=0.0)
    with pytest.raises(BadRecipe, match=r"prepare\.step_seconds is 3"):
        Preparation(seconds=1.0, step_seconds=3.0)


def test_without_the_extra_the_error_has_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(MissingExtra, match=r"soundfile.*\n.*regraft\[sound\]"):
        reading.library()


def test_a_clip_shorter_than_a_window_is_padded() -> None:
    assert log_mel(np.zeros(10, dtype=np.float32), 16000, 80).shape == (80, 1)
    assert Preparation(seconds=1.0).features(np.ones(10, dtype=np.float32)).shape == (80, 100)
