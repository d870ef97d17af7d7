// What this port says: JSON, or why not.

/** The content of a reply. Raises an Error with the server's words, or with ours where nothing answers. */
export async function said(path, options, patience) {
  let reply;
  let text;
  try {
    reply = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(patience) });
    text = await reply.text();
  } catch {
    throw new Error(`Nothing answers at ${location.host}.`);
  }
  const content = parsed(text);
  if (!reply.ok || content === null) throw new Error(content?.error ?? `${reply.status} ${reply.statusText}.`);
  return content;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
