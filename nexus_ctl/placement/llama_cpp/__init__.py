"""llama.cpp's memory: what one replica takes, place by place, in closed form, and what the engine reports of it."""
