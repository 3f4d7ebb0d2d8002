// Questions to the server. Each carries the token that came in the page's address, behind the #.

const KEY = "celltraces-token";

/** What the address says behind its #: token, dataset, fov, cell, frame. */
export const told = () => new URLSearchParams(location.hash.slice(1));

function remembered() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** The token of this address, kept for links that come without it, and taken out of what the address bar shows. */
export function findToken() {
  const words = told();
  const token = words.get("token");
  if (!token) return remembered();
  try {
    localStorage.setItem(KEY, token);
    words.delete("token");
    history.replaceState(null, "", `#${words}`);
  } catch {
    // Where nothing can be kept, the token stays in the address, so that the page can be loaded again.
  }
  return token;
}

let token = "";
export const useToken = (found) => {
  token = found;
};

export class Refused extends Error {
  constructor(words, status) {
    super(words);
    this.status = status;
  }
}

function gone() {
  throw new Refused("The server does not answer. Is it still running in the terminal?", 0);
}

/** What an answer holds, read as "json", "text", "blob" or "arrayBuffer". The server may end before all of it came. */
export const bodyOf = (response, kind) => response[kind]().catch(gone);

async function answer(request) {
  const response = await request.catch(gone);
  if (!response.ok) throw new Refused((await bodyOf(response, "text")) || response.statusText, response.status);
  return response;
}

/** Ask for something of the results; the answer's Response. Throws Refused, with one line that says why. */
export const ask = (name, query = {}, signal = undefined) =>
  answer(fetch(`/api/${name}?${new URLSearchParams(query)}`, { headers: { "x-celltraces-token": token }, signal, cache: "no-store" }));

export const askJson = async (name, query) => bodyOf(await ask(name, query), "json");
export const askBytes = async (name, query) => bodyOf(await ask(name, query), "arrayBuffer");

/** Tell the server something; its answer as data. */
export async function tell(name, body) {
  const headers = { "x-celltraces-token": token, "content-type": "application/json" };
  return bodyOf(await answer(fetch(`/api/${name}`, { method: "POST", headers, body: JSON.stringify(body) })), "json");
}
