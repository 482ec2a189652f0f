// Takes a picture with the camera, or records a clip with the microphone, and has the model predict it. Nothing is kept.
import { predict, said } from "./try.js";

const [start, take, stop] = ["start", "take", "stop"].map((id) => document.getElementById(id));
const video = document.getElementById("seen");
const camera = document.getElementById("recorder").dataset.device === "camera";
let stream = null;
let recording = null;
let wanted = false; // whether what was recorded is to be predicted

function show(on) {
  start.hidden = on;
  take.hidden = stop.hidden = !on;
  video.hidden = !(on && camera);
}

function off() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = recording = video.srcObject = null;
  show(false);
  start.focus();
}

async function on() {
  try {
    stream = await navigator.mediaDevices.getUserMedia(camera ? { video: true } : { audio: true });
  } catch (error) {
    said.textContent = `The ${camera ? "camera" : "microphone"} cannot be used: ${error.message}`;
    return;
  }
  take.disabled = camera;
  if (camera) {
    video.srcObject = stream;
  } else {
    recording = new MediaRecorder(stream);
    const parts = [];
    recording.addEventListener("dataavailable", (event) => parts.push(event.data));
    recording.addEventListener("stop", async () => wanted && predict([await wave(new Blob(parts))]));
    wanted = false;
    recording.start();
    said.textContent = "Recording …";
  }
  show(true);
  take.focus();
}

function picture() {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => predict([new File([blob], "camera.png", { type: "image/png" })]), "image/png");
}

// The clip as a WAV file with one channel of 16-bit samples: what a browser records by itself few libraries read.
async function wave(blob) {
  const audio = new AudioContext();
  const heard = await audio.decodeAudioData(await blob.arrayBuffer());
  audio.close();
  const samples = heard.getChannelData(0);
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, word) => [...word].forEach((letter, more) => view.setUint8(at + more, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, heard.sampleRate, true);
  view.setUint32(28, 2 * heard.sampleRate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((one, at) => view.setInt16(44 + 2 * at, 32767 * Math.max(-1, Math.min(1, one)), true));
  return new File([view], "microphone.wav", { type: "audio/wav" });
}

start.addEventListener("click", on);
video.addEventListener("loadeddata", () => (take.disabled = false));
stop.addEventListener("click", off);
take.addEventListener("click", () => {
  if (camera) return picture();
  wanted = true;
  recording.stop();
  off();
});
if (!navigator.mediaDevices) {
  start.disabled = true;
  start.textContent += " (only on this machine, or over HTTPS)";
}
