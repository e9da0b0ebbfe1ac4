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

export const image = (position, name) => `api/images/${position}/${name}.png`;
export const slotImage = (position, slot, name) => `api/images/${position}/slots/${slot}/${name}.png`;
