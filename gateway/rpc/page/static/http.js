// What this port says: JSON, or why not.

/** The content of a reply. Raises an Error with the server's words, or with ours where nothing answers. */
export async function said(path, options, patience) {
  let reply;
  let content;
  try {
    reply = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(patience) });
    content = await reply.json();
  } catch {
    throw new Error(`Nothing answers at ${location.host}.`);
  }
  if (!reply.ok) throw new Error(content.error);
  return content;
}
