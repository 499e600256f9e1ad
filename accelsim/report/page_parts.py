"""The style sheet and the script of the report page."""

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2328;--muted:#57606a;--line:#d0d7de;--soft:#f6f8fa;--hit:#fff3c4;
--compute:#0072B2;--memory:#D55E00}
@media(prefers-color-scheme:dark){:root{--paper:#0f1216;--ink:#e6edf3;--muted:#9aa7b4;--line:#343b44;--soft:#191e24;
--hit:#4a3f12;--compute:#56B4E9;--memory:#F08A3C}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,sans-serif}
header,main{max-width:1280px;margin:auto;padding:0 20px}h1{font-size:1.5rem;margin:24px 0 4px}
h2{font-size:1.25rem;margin:36px 0 10px;padding-top:12px;border-top:1px solid var(--line)}h3{font-size:1rem;margin:26px 0 8px}
a{color:var(--compute)}.skip{position:absolute;left:-99em}.skip:focus{left:8px;top:8px;background:var(--paper);padding:4px}
nav ul,.legend,.bars{list-style:none;margin:0;padding:0}nav ul,.legend{display:flex;flex-wrap:wrap;gap:4px 16px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:10px;margin:0}
.cards div{background:var(--soft);border:1px solid var(--line);border-radius:8px;padding:10px 14px}
.cards dt{color:var(--muted);font-size:.85rem}.cards dd{margin:0;font-size:.85rem;color:var(--muted)}
.cards dd:nth-of-type(1){font-size:1.35rem;font-weight:600;color:var(--ink);font-variant-numeric:tabular-nums}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(460px,100%),1fr));gap:0 32px}
.legend{font-size:.8rem;margin-bottom:6px}.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.35em}
.bars{max-height:26em;overflow:auto;border:1px solid var(--line);border-radius:6px;padding:6px 10px;font-size:.8rem}
.bars li{display:grid;grid-template-columns:minmax(0,9.5em) 1fr 7.5em;gap:8px;align-items:center;height:1.55em}
.bars b{font-weight:400;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.bars em{font-style:normal;text-align:right;color:var(--muted);font-variant-numeric:tabular-nums;white-space:nowrap}
.bar{display:flex;height:1.05em}.bar i{display:block;height:100%;min-width:0}
.scroll{overflow:auto;max-height:34em;border:1px solid var(--line);border-radius:6px}
table{border-collapse:collapse;width:100%;font-size:.82rem}caption{text-align:left;padding:6px 10px;color:var(--muted)}
th,td{padding:3px 8px;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
tbody th{font-weight:500}.n{text-align:right;font-variant-numeric:tabular-nums}
thead th{position:sticky;top:0;background:var(--soft);padding:0}
thead button{font:inherit;font-weight:600;color:inherit;background:none;border:0;padding:6px 8px;width:100%;cursor:pointer;
text-align:inherit}
th[aria-sort=ascending] button::after{content:" ▲"}th[aria-sort=descending] button::after{content:" ▼"}
tr.hit>*{background:var(--hit)}:focus-visible{outline:2px solid var(--compute);outline-offset:1px}
details .scroll{margin-top:8px}details td{white-space:normal;min-width:6em;vertical-align:top}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr));gap:2px 24px;font-size:.85rem;margin:0}
.facts div{display:flex;gap:10px;border-bottom:1px solid var(--line);padding:3px 0}
.facts dt{color:var(--muted);flex:0 0 11em}.facts dd{margin:0;overflow-wrap:anywhere}
.wide{overflow-x:auto}.roofline{width:100%;min-width:600px;height:auto;display:block}
.timeline{display:flex;height:1.6em;border:1px solid var(--line)}.timeline a{display:block;min-width:0;
box-shadow:inset -1px 0 var(--paper)}.timeline .compute{background:var(--compute)}
.timeline .memory{background:repeating-linear-gradient(45deg,var(--memory) 0 4px,var(--soft) 4px 6px)}
.scale{display:flex;position:relative;font-size:.8rem;color:var(--muted);font-variant-numeric:tabular-nums}
.scale span{flex:1;border-left:1px solid var(--line);padding-left:3px}
.scale span:last-child{position:absolute;right:0;border:0;background:var(--paper)}
.folds{columns:auto 30em;margin:8px 0}.folds details{break-inside:avoid;padding:2px 8px}.folds p{margin:2px 0}
:target{background:var(--hit)}
.roofline text{pointer-events:none;font-size:12px;fill:var(--muted);paint-order:stroke;stroke:var(--paper);stroke-width:3px}
.about{font-size:.85rem;color:var(--muted);margin:4px 0}b.compute{color:var(--compute)}b.memory{color:var(--memory)}
.mid{text-anchor:middle}.end{text-anchor:end}.grid{stroke:var(--line);stroke-width:1}.axis{stroke:var(--ink);fill:none}
.roof{fill:none;stroke:var(--ink);stroke-width:1.8}circle{stroke-width:1.2;fill-opacity:.45}
circle.compute{fill:var(--compute);stroke:var(--compute)}circle.memory{fill:var(--memory);stroke:var(--memory)}
circle:hover,circle:focus{fill-opacity:.9;stroke:var(--ink);stroke-width:2.5;outline:none}
#tip{position:fixed;pointer-events:none;white-space:pre-line;background:var(--ink);color:var(--paper);padding:6px 10px;
border-radius:6px;font-size:.82rem;max-width:26em;z-index:9}
@media print{.scroll,.bars{max-height:none}thead button::after{content:""!important}}
"""

SCRIPT = """
const tip=document.getElementById("tip");let hit=null;
function mark(row){if(hit)hit.classList.remove("hit");hit=row?document.getElementById(row):null;if(hit)hit.classList.add("hit")}
function show(on,x,y){
  tip.hidden=!on;mark(on&&on.dataset.row);if(!on)return;
  tip.textContent=on.dataset.tip;
  tip.style.left=Math.max(0,Math.min(x+14,innerWidth-tip.offsetWidth-8))+"px";
  tip.style.top=(y+14+tip.offsetHeight>innerHeight?y-tip.offsetHeight-14:y+14)+"px"}
document.addEventListener("pointermove",event=>show(event.target.closest("[data-tip]"),event.clientX,event.clientY));
document.addEventListener("focusin",event=>{
  const on=event.target.closest("[data-tip]"),box=event.target.getBoundingClientRect();
  show(on,box.x+box.width/2,box.y+box.height/2)});
document.addEventListener("focusout",()=>show(null));
function go(on){
  const row=on&&document.getElementById(on.dataset.row);
  if(row){row.scrollIntoView({block:"center"});mark(on.dataset.row)}}
document.addEventListener("click",event=>go(event.target.closest("circle[data-row]")));
document.addEventListener("keydown",event=>{
  if(event.key==="Escape")show(null);
  if(event.key==="Enter")go(event.target.closest("circle[data-row]"))});
function unfold(){
  let on=location.hash&&document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if(!on)return;
  for(let fold=on.closest("details");fold;fold=fold.parentElement.closest("details"))fold.open=true;
  on.scrollIntoView({block:"center"})}
addEventListener("hashchange",unfold);unfold();
for(const head of document.querySelectorAll("table.sortable thead th")){
  head.firstElementChild.addEventListener("click",()=>{
    const table=head.closest("table"),at=head.cellIndex,body=table.tBodies[0];
    const rows=[...body.rows],number=rows.every(r=>r.cells[at].dataset.v===""||!isNaN(r.cells[at].dataset.v));
    const first=number?"descending":"ascending",other=number?"ascending":"descending";
    const way=head.getAttribute("aria-sort")===first?other:first,sign=way==="ascending"?1:-1;
    const key=r=>number?Number(r.cells[at].dataset.v||-Infinity):r.cells[at].dataset.v;
    rows.sort((a,b)=>{const x=key(a),y=key(b);return sign*(number?x-y:x.localeCompare(y,undefined,{numeric:true}))});
    for(const other of table.tHead.rows[0].cells)other.setAttribute("aria-sort","none");
    head.setAttribute("aria-sort",way);body.append(...rows)})}
"""
