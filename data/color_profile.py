"""Colour profiles: what a file's numbers mean. Everything here is sRGB, so a picture in another space is converted."""

from __future__ import annotations

import io

from PIL import Image, ImageCms

_SPACES = {"RGB": "RGB", "CMYK": "CMYK", "GRAY": "L"}


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """The picture as sRGB.

    Args:
        image: of mode RGB, CMYK or L.
        profile: ICC profile of the file; None when it has none, which is taken to mean sRGB.

    Returns:
        The picture in mode RGB, and why the profile was passed over ("" when it was not).
    """
    if not profile:
        return image if image.mode == "RGB" else image.convert("RGB"), ""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _SPACES.get(source.profile.xcolor_space.strip()) != image.mode:
            return image.convert("RGB"), "its colour profile is for another kind of picture and was not used"
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image.convert("RGB"), ""
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, target, outputMode="RGB"), ""
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        # A picture with a broken profile is still a picture.
        return image.convert("RGB"), "its colour profile is damaged and was not used"
