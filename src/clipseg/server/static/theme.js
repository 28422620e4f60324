// Runs before anything is drawn: the theme that was chosen here before, so that nothing flashes.
document.documentElement.dataset.theme = 'auto';
try {
  document.documentElement.dataset.theme = localStorage.getItem('clipseg-theme') ?? 'auto';
} catch { /* a browser may forbid to keep anything */ }
