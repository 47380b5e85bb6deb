/* A line of text below each search result, from the words of all pages (words.js): a page opened from disk may not read others. */
window.fetch = async (url) => ({text: async () => new URL(url, location).pathname});
Search.htmlToText = (path, anchor) => {
  const pages = Object.keys(WORDS).filter((name) => path.endsWith(`/${name}`)); // of book/index.html, index.html too
  const page = pages.sort((a, b) => a.length - b.length).pop();
  const [text, starts] = WORDS[page] ?? [" ", {}];
  return text.slice(starts[anchor] ?? 0);
};
