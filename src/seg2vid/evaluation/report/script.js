// Videos play while they are in view, all together stop or start again, at full or a third speed.
// The controls of a browser would lie over the lower pictures: a click or the space bar stands in.
const videos = [...document.querySelectorAll('video')], bar = document.getElementById('play');
let wanted = !matchMedia('(prefers-reduced-motion: reduce)').matches;
const seen = new Set(), update = v => wanted && seen.has(v) ? v.play() : v.pause();
const watch = new IntersectionObserver(entries => entries.forEach(e => {
  e.isIntersecting ? seen.add(e.target) : seen.delete(e.target); update(e.target); }),
  { threshold: 0.4 });
videos.forEach(v => {
  watch.observe(v); v.controls = false; v.tabIndex = 0;
  const turn = () => v.paused ? v.play() : v.pause();
  v.addEventListener('click', turn);
  v.addEventListener('keydown', e => { if (e.key === ' ') { e.preventDefault(); turn(); } });
});
bar.hidden = false;
bar.addEventListener('click', e => {
  if (e.target.value === 'play') {
    wanted = !wanted; videos.forEach(v => { v.currentTime = 0; update(v); }); }
  if (e.target.value === 'slow') videos.forEach(v => {
    v.playbackRate = v.playbackRate === 1 ? 0.34 : 1; });
});
