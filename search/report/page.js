// Tables of more than a few rows sort by a click on a heading; what scrolls fades where there is more.
const units = { K: 1e3, M: 1e6, G: 1e9 };
const number = (text) => {
  const [, digits, unit] = text.match(/([-\d.,]+)\s*([KMG]?)/) || [text, "-Infinity", ""];
  return parseFloat(digits.replaceAll(",", "")) * (units[unit] || 1);
};
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 4) continue;
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button"), numeric = head.classList.contains("right");
    button.append(...head.childNodes);
    head.append(button);
    button.onclick = () => {
      const order = head.ariaSort === (numeric ? "descending" : "ascending") ? -1 : 1, up = numeric ? -order : order;
      const value = (row) => row.cells[head.cellIndex].textContent;
      const compare = (a, b) => numeric ? number(value(a)) - number(value(b)) : value(a).localeCompare(value(b));
      body.append(...[...body.rows].sort((a, b) => up * compare(a, b)));
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up > 0 ? "ascending" : "descending");
    };
  }
}
for (const box of document.querySelectorAll(".scroll")) {
  const cue = () => {
    box.classList.toggle("right-more", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
    box.classList.toggle("below-more", box.scrollTop + box.clientHeight < box.scrollHeight - 1);
  };
  box.addEventListener("scroll", cue);
  new ResizeObserver(cue).observe(box);
}
