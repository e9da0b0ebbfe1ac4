// Requests to the server. An error carries the server's own words.

async function answer(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer; is 'slotlab studio' still running?");
  }
  if (response.ok) return response;
  const words = await response.json().catch(() => ({}));
  throw new Error(words.detail ?? `the server answered ${response.status}`);
}

export async function getJson(path) {
  return (await answer(path)).json();
}

export async function getPicture(path) {
  return (await answer(path)).blob();
}

export async function compose(slots, show, signal) {
  const options = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ slots, show }),
    signal,
  };
  return (await answer("api/compose", options)).blob();
}

// Draw a picture; `seen` is called with each line of the answer: steps done, steps in all, picture.
export async function draw(slots, number, signal, seen) {
  const options = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ slots, draw: number }),
    signal,
  };
  const reader = (await answer("api/draw", options)).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (text + value).split("\n");
    text = lines.pop();
    for (const line of lines) {
      const step = JSON.parse(line);
      const bytes = Uint8Array.from(atob(step.png), (letter) => letter.charCodeAt(0));
      seen({ ...step, blob: new Blob([bytes], { type: "image/png" }) });
    }
  }
}

// A new clip; returns the film and its number of frames, or an animated picture to keep.
export async function composeClip(slots, show, frames, form, signal) {
  const options = {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ slots, show, frames, form }),
    signal,
  };
  const response = await answer("api/compose-clip", options);
  return { blob: await response.blob(), frames: Number(response.headers.get("X-Frames")) };
}

// Where pictures come from: images of a split, or its clips, whose pictures are films.
const places = (kind, noun, thumb) => ({
  noun,
  facts: (position) => `api/${kind}/${position}`,
  image: (position, name) => `api/${kind}/${position}/${name}.png`,
  thumb: (position) => `api/${kind}/${position}/${thumb}.png`,
  slot: (position, slot, name) => `api/${kind}/${position}/slots/${slot}/${name}.png`,
});
export const images = places("images", "image", "image");
export const clips = places("clips", "clip", "first");
