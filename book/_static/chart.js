/* Charts to point at and to choose from, of the page's <div class="chart" data-spec="...">, drawn by Vega-Lite. The figure
   before it is what readers without scripts, and on paper, see instead. */
(async () => {
  const load = (source) =>
    new Promise((done, failed) => {
      document.head.append(Object.assign(document.createElement("script"), { src: source, onload: done, onerror: failed }));
    });
  const here = new URL(".", document.currentScript.src);
  await load(new URL("chart/vega.js", here)); // it puts its scripts into window.charts
  for (const packed of charts.vega.scripts) {
    const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
    const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
    await load(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  }
  const ink = "currentColor";
  const config = {
    background: null,
    font: getComputedStyle(document.body).fontFamily,
    view: { stroke: null },
    axis: { labelColor: ink, titleColor: ink, domainColor: ink, tickColor: ink, gridColor: ink, gridOpacity: 0.15, labelFontSize: 12, titleFontSize: 12 },
    legend: { labelColor: ink, orient: "bottom", columns: 1, direction: "vertical", labelFontSize: 12, labelLimit: 0, symbolBaseStrokeColor: ink },
  };
  for (const place of document.querySelectorAll(".chart[data-spec]")) {
    place.hidden = false;
    place.ready = vegaEmbed(place, JSON.parse(place.dataset.spec), { config, actions: false, renderer: "svg" });
    await place.ready;
    place.querySelector("svg").setAttribute("aria-hidden", "true");  // the numbers stand in a table
    place.dataset.drawn = "";
  }
})();
