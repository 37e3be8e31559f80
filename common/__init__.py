"""What every stage uses.

Words that mean one thing everywhere: a video is a folder of frames; a clip, frames that a network is fed together; a
window, five successive frames; a crop, a rectangle cut from a frame; a picture, an image that one looks at; a still,
content that synthetic video is rendered from. Blur is measured (kernels, lengths), results are evaluated (PSNR, SSIM),
work is timed.
"""
