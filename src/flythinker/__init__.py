"""FlyThinker: think while generating, for personalized long-form writing (arXiv 2512.06690)."""
