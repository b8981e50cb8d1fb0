// Files that the page gives to the person.

export function saveFile(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

export function savePng(canvas: HTMLCanvasElement, title: string): void {
  canvas.toBlob((blob) => blob && saveFile(blob, `${title}.png`));
}
