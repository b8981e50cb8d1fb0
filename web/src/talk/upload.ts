// Files that the page gives to the lab: docs/lab_protocol.md says what becomes of them.

/** Give a file to the lab: the subject to open it by, or why it was not taken. */
export async function upload(file: File): Promise<{ subject: string } | { text: string }> {
  const answer = await fetch(`./uploads?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
  return (await answer.json()) as { subject: string } | { text: string };
}
