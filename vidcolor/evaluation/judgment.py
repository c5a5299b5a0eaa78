"""A page on which people judge: is this picture real, or was it colored?

The page is one HTML file with its pictures inside. It shows them one by one in a random order, each
either as it was or colored, and counts the answers. Of pictures that fool everybody half are taken
for real.
"""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..system.files import replacing
from .sheets import PictureScore, spread

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Real or colored?</title>
<style>
body {{ font: 18px sans-serif; text-align: center; max-width: 40em; margin: 1em auto }}
img {{ width: 100%; max-width: 512px; image-rendering: auto }}
button {{ font-size: 1.2em; margin: 0.5em; padding: 0.4em 1.5em }}
td, th {{ padding: 0.2em 1em }} table {{ margin: 1em auto }}
</style>
<h1>Real or colored?</h1>
<div id="ask">
<p id="count"></p>
<img id="picture" alt="the picture to judge">
<p><button id="real">real (R)</button> <button id="colored">colored (C)</button></p>
</div>
<div id="tally" hidden></div>
<script>
const pictures = {pictures};
const answers = [];
function show() {{
  const at = answers.length;
  if (at === pictures.length) return finish();
  document.getElementById("count").textContent = `picture ${{at + 1}} of ${{pictures.length}}`;
  document.getElementById("picture").src = pictures[at].source;
}}
function answer(real) {{
  if (answers.length < pictures.length) {{ answers.push(real); show(); }}
}}
function finish() {{
  const row = (name, wanted) => {{
    const of = pictures.map((p, i) => [p, answers[i]]).filter(([p]) => p.real === wanted);
    const real = of.filter(([, said]) => said).length;
    return `<tr><td>${{name}}<td>${{of.length}}<td>${{real}}<td>` +
      `${{of.length ? Math.round(100 * real / of.length) : 0}} %</tr>`;
  }};
  document.getElementById("ask").hidden = true;
  const tally = document.getElementById("tally");
  tally.hidden = false;
  tally.innerHTML = "<table><tr><th><th>pictures<th>taken for real<th></tr>" +
    row("real", true) + row("colored", false) + "</table>";
  tally.append(...pictures.map((p, i) => {{
    const line = document.createElement("p");
    line.textContent = `${{p.name}}: ${{p.real ? "real" : "colored"}}, ` +
      `taken for ${{answers[i] ? "real" : "colored"}}`;
    return line;
  }}));
}}
document.getElementById("real").onclick = () => answer(true);
document.getElementById("colored").onclick = () => answer(false);
document.onkeydown = (event) => {{
  if (event.key === "r") answer(true);
  if (event.key === "c") answer(false);
}};
show();
</script>
</html>
"""


def _data_url(rgb: Tensor) -> str:
    """R'G'B' `(3, H, W)` in [0, 255] as a PNG inside a URL."""
    from PIL import Image

    pixels = rgb.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"


def write_judgment_page(
    path: Path,
    count: int,
    seed: int,
    scores: Sequence[PictureScore],
    render: Callable[[Sequence[int]], tuple[Tensor, Tensor, Tensor]],
) -> None:
    """Write the page: half of the pictures colored, the other half real, shuffled.

    No picture is shown both ways, because two beside each other would give the answer.

    Args:
        path: the HTML file, replaced atomically.
        count: of pictures, spread over the set.
        seed: of the order, and of which are real.
        scores: of all pictures, for their names.
        render: see `stills.Page`.

    Raises:
        OutputError: the file cannot be written.
    """
    chance = random.Random(seed)
    chosen = spread(len(scores), count)
    real = [number % 2 == 0 for number in range(len(chosen))]
    chance.shuffle(real)
    _, colored, truth = render(chosen)
    pictures = [
        {
            "name": Path(scores[index].name).name,
            "real": is_real,
            "source": _data_url((truth if is_real else colored)[number]),
        }
        for number, (index, is_real) in enumerate(zip(chosen, real, strict=True))
    ]
    chance.shuffle(pictures)
    # a name could end the script
    data = json.dumps(pictures).replace("<", "\\u003c")
    with replacing(path) as temporary:
        temporary.write_text(_PAGE.format(pictures=data), encoding="utf-8")
