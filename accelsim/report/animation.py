"""A film of registers as a moving picture for teaching: operands on their way through the array.

`to_svg` is one file that plays by itself (SMIL, no scripts), for slides and documentation; `to_html` is a
page with buttons, a slider and the arrow keys. Both show the same pictures, drawn from the film and nothing
else.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from accelsim.errors import InfeasibleError
from accelsim.report.registers import Film, Frame, Number

MOST_PES, MOST_FRAMES = 64, 400
PITCH, BOX, CHIP_W, CHIP_H, SUM_W = 86, 58, 36, 17, 54
AHEAD = 3  # operands that are shown waiting outside
SECONDS_A_CYCLE = 0.8
STYLE = """
.pe{fill:var(--idle);stroke:var(--ink);stroke-width:1.2}.pe.on{fill:var(--busy)}
text{font:12px system-ui,sans-serif;fill:var(--ink);text-anchor:middle;dominant-baseline:central}
.chip{stroke-width:1.4;fill:var(--paper)}.l{stroke:#0072B2}.t{stroke:#D55E00}.s{stroke:#009E73}
.wait{opacity:.45}.note{text-anchor:start;fill:var(--muted)}
.title{text-anchor:start;font-weight:600;font-size:14px}
.kept{fill:var(--kept)}.sum{fill:var(--sum)}.go{fill:var(--sum);font-weight:600}
:root{--paper:#fff;--ink:#222;--muted:#666;--idle:#f2f2f2;--busy:#cfe5f5;--kept:#B04A00;--sum:#00755A}
@media(prefers-color-scheme:dark){:root{--paper:#16181b;--ink:#eee;--muted:#aaa;--idle:#24272b;--busy:#12466b;
--kept:#F08A3C;--sum:#3CCFA5}}
"""
SCRIPT = """
const frames=[...document.querySelectorAll(".frame")],at=document.getElementById("at");
const play=document.getElementById("play"),now=document.getElementById("now");let timer=0;
function show(n){n=(n+frames.length)%frames.length;frames.forEach((f,i)=>f.toggleAttribute("hidden",i!==n));
  at.value=n;now.textContent="cycle "+n+" of "+(frames.length-1)}
function stop(){clearInterval(timer);timer=0;play.textContent="play"}
function toggle(){if(timer)return
stop();play.textContent="stop";timer=setInterval(()=>show(+at.value+1),PAUSE)} function
step(by){stop();show(+at.value+by)} play.onclick=toggle;at.oninput=()=>{stop();show(+at.value)};
document.getElementById("back").onclick=()=>step(-1);document.getElementById("next").onclick=()=>step(1);
addEventListener("keydown",event=>{
  if(["INPUT","BUTTON"].includes(event.target.tagName))return;
  if(event.key==="ArrowRight")step(1);if(event.key==="ArrowLeft")step(-1);
  if(event.key===" "){event.preventDefault();toggle()}});
"""


def to_svg(film: Film) -> str:
    """A picture that plays by itself, round and round."""
    _refuse_large(film)
    (width, height), count = _size(film), len(film.frames)
    title, plays = escape(_title(film)), f'dur="{count * SECONDS_A_CYCLE:g}s" repeatCount="indefinite"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{title}"><title>{title}</title><style>{STYLE}</style>',
        f'<rect width="{width}" height="{height}" fill="var(--paper)"/>',
    ]
    for number, picture in enumerate(_pictures(film)):
        times = f"0;{number / count:.6f};{(number + 1) / count:.6f}"
        values = "hidden;visible;hidden" if number else "visible;visible;hidden"
        animated = f'attributeName="visibility" calcMode="discrete" {plays} keyTimes="{times}" values="{values}"'
        first = "hidden" if number else "visible"
        parts.append(f'<g visibility="{first}">{picture}<animate {animated}/></g>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def to_html(film: Film) -> str:
    """A page with buttons; one file, nothing is fetched."""
    _refuse_large(film)
    width, height = _size(film)
    groups = "\n".join(
        f'<g class="frame"{" hidden" if number else ""}>{picture}</g>' for number, picture in enumerate(_pictures(film))
    )
    last, title = len(film.frames) - 1, escape(_title(film))
    script = SCRIPT.replace("PAUSE", f"{1000 * SECONDS_A_CYCLE:.0f}")
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-
scale=1"> <title>{title}</title><style>{STYLE} :root{{color-scheme:light dark}} body{{margin:1rem auto;max-
width:{max(width, 480) + 40}px;background:var(--paper);color:var(--ink); font:16px/1.4 system-ui,sans-
serif;padding:0 1rem}} h1{{font-size:1.2rem}}svg{{width:100%;height:auto}}g[hidden]{{display:none}}
.bar{{display:flex;gap:.5rem;align-items:center}}.bar input{{flex:1;min-width:4rem}}
button{{font:inherit;padding:.3rem .8rem;min-width:3rem}}output{{min-width:8rem;text-align:right}}
</style></head><body><main> <h1>{title}</h1> <div class="bar"><button id="back" aria-label="one cycle
back">◀</button><button id="play">play</button> <button id="next" aria-label="one cycle on">▶</button> <input
id="at" type="range" min="0" max="{last}" value="0" aria-label="cycle"> <output id="now">cycle 0 of
{last}</output></div> <svg viewBox="0 0 {width} {height}" role="img" aria-label="the array in the chosen
cycle"> {groups} </svg> <p>{escape(_words(film))} The arrow keys step, the space bar plays.</p>
</main><script>{script}</script></body></html>
"""


def _refuse_large(film: Film) -> None:
    pes = film.spec.rows * film.spec.cols
    if pes > MOST_PES or len(film.frames) > MOST_FRAMES:
        raise InfeasibleError(
            f"a picture of {film.layer}",
            demand=f"{pes} PEs over {len(film.frames)} cycles",
            bound=f"{MOST_PES} PEs and {MOST_FRAMES} cycles at most",
            levers=("a smaller array or layer", "write the trace to a .vcd or .json file"),
        )


def _title(film: Film) -> str:
    return f"{film.layer} on a {film.spec.rows} × {film.spec.cols} array, {film.dataflow}"


def _words(film: Film) -> str:
    if film.dataflow == "os":
        return "Inputs move right (blue), weights move down (orange); each PE keeps its sum."
    moving, held = ("inputs", "weights") if film.dataflow == "ws" else ("weights", "inputs")
    ways = f"{moving} move right (blue), partial sums move down (green)"
    return f"Each PE holds one of the {held} (orange); {ways}."


# ---- pictures --------------------------------------------------------------------------------------


def _margins(film: Film) -> tuple[int, int]:
    """Room at the left and above for operands that wait."""
    return 30 + AHEAD * (CHIP_W + 4), 66 + (AHEAD * (CHIP_H + 4) if film.dataflow == "os" else 0)


def _size(film: Film) -> tuple[int, int]:
    left, top = _margins(film)
    return left + film.spec.cols * PITCH + 12, top + film.spec.rows * PITCH + 40


def _pictures(film: Film) -> Iterator[str]:
    for cycle, frame in enumerate(film.frames):
        yield "".join([*_caption(film, cycle, frame), *_pes(film, frame), *_waiting(film, cycle)])


def _caption(film: Film, cycle: int, frame: Frame) -> Iterator[str]:
    _, height = _size(film)
    yield f'<text class="title" x="12" y="20">cycle {cycle}</text>'
    fold = f"tile {frame.fold + 1} of {film.folds}" if frame.fold >= 0 else "operands are shifted in"
    count = len(frame.working)
    yield f'<text class="note" x="96" y="20">{fold}; {count} PE{"" if count == 1 else "s"} multiply</text>'
    leaving = ", ".join(_number(output.value) for output in frame.outputs[:6])
    more = " …" if len(frame.outputs) > 6 else ""
    words = f"at the output ports: {leaving}{more}" if leaving else "nothing at the output ports"
    look = "note go" if leaving else "note"
    yield f'<text class="{look}" x="12" y="{height - 14}">{words}</text>'


def _pes(film: Film, frame: Frame) -> Iterator[str]:
    for i in range(film.spec.rows):
        for j in range(film.spec.cols):
            yield from _pe(film, frame, i, j)


def _pe(film: Film, frame: Frame, i: int, j: int) -> Iterator[str]:
    left, top = _margins(film)
    x, y, middle = left + j * PITCH, top + i * PITCH, BOX // 2
    on = " on" if (i, j) in frame.working else ""
    yield f'<rect class="pe{on}" x="{x}" y="{y}" width="{BOX}" height="{BOX}" rx="4"/>'
    os, state = film.dataflow == "os", frame.state
    kept = state.get(("sum" if os else "weight", i, j))
    if kept is not None:
        look = "sum" if os else "kept"
        yield f'<text class="{look}" x="{x + middle}" y="{y + middle + 10}">{_number(kept)}</text>'
    yield from _chip(x - 6, y + 12, state.get(("left", i, j)), "l")
    if os:
        yield from _chip(x + middle + 8, y - 2, state.get(("top", i, j)), "t")
    else:
        sums = sorted((k, v) for k, v in state.items() if k[:3] == ("psum", i, j))
        last = sums[-1][1] if sums else None
        yield from _chip(x + middle + 4, y + BOX + 4, last, "s", width=SUM_W)


def _chip(
    x: float, y: float, value: Number | None, kind: str, wait: bool = False, width: int = CHIP_W
) -> Iterator[str]:
    """An operand in its register, centred at a place; nothing where the register is empty."""
    if value is None:
        return
    faint = ' class="wait"' if wait else ""
    yield f'<g{faint}><rect class="chip {kind}" x="{x - width / 2:g}" y="{y - CHIP_H / 2:g}" '
    yield f'width="{width}" height="{CHIP_H}" rx="3"/><text x="{x:g}" y="{y:g}">{_number(value)}</text></g>'


def _waiting(film: Film, cycle: int) -> Iterator[str]:
    """The operands that enter next, outside the array where they will come in: the cycles to come tell."""
    left, top = _margins(film)
    for ahead, frame in enumerate(film.frames[cycle + 1 : cycle + 1 + AHEAD], start=1):
        for i in range(film.spec.rows):
            x = left - 6 - ahead * (CHIP_W + 4)
            yield from _chip(x, top + i * PITCH + 12, frame.state.get(("left", i, 0)), "l", wait=True)
        for j in range(film.spec.cols) if film.dataflow == "os" else ():
            x, y = left + j * PITCH + BOX // 2 + 8, top - 2 - ahead * (CHIP_H + 4)
            yield from _chip(x, y, frame.state.get(("top", 0, j)), "t", wait=True)


def _number(value: Number) -> str:
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}".replace("-", "−")
