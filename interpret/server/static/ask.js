// Questions to the server: a stream of events for each, which is cancelled by going away.
const hash = new URLSearchParams(location.hash.slice(1));
export const token = hash.get("token");
const headers = token ? { Authorization: `Bearer ${token}` } : {};

export class Refused extends Error {}

const refusal = async (response) => {
  const said = await response.json().catch(() => ({}));
  return new Refused(said.message ?? `the server answers ${response.status}`);
};

const reached = async (path, options) => {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("the server does not answer; is it still running?");
  }
};

// What the server answers in one piece.
export const get = async (path) => {
  const response = await reached(path, { headers });
  if (!response.ok) throw await refusal(response);
  return response.json();
};

export const file = async (path) => {
  const response = await reached(path, { headers });
  if (!response.ok) throw await refusal(response);
  return response.blob();
};

// Ask a question: `hear` gets every event on the way, and the last one is what comes back.
export const ask = async (kind, body, hear, signal) => {
  const response = await reached(`/api/${kind}`, {
    method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body), signal,
  });
  if (!response.ok) throw await refusal(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      if (signal?.aborted) throw error;
      throw new Refused("the connection to the server broke off");
    });
    if (done) throw new Refused("the server ended before it had answered");
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line) continue;
      const event = JSON.parse(line);
      if (event.event === "error") throw new Refused(event.message);
      if (event.event === "done") return event;
      hear?.(event);
    }
  }
};
