"""Writes tests/data/dicom: small DICOM files, and the pictures pydicom sees in them.

    python3 -m venv venv && . venv/bin/activate
    pip install pydicom==3.0.2 numpy==2.4.6 pillow==13.0.0 pyjpegls==1.5.1 pylibjpeg==2.1.0
    pip install pylibjpeg-openjpeg==2.6.0 pylibjpeg-libjpeg==2.5.0 imagecodecs==2026.3.6
    python tests/tools/make_dicom.py tests/data/dicom

One file for each transfer syntax and each way to store and show samples, and beside it
the picture as 8-bit PNG. Deterministic: a second run writes the same bytes.
"""

import io
import pathlib
import sys

import imagecodecs
import numpy as np
import PIL.Image
import pydicom
import pydicom.uid as uid
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_windowing, pixel_array

WIDTH, HEIGHT = 36, 32


def grey(low, high):
    """A slope with a disc on it, from low to high."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    share = (x + y) / (WIDTH + HEIGHT - 2)
    share[(x - 22) ** 2 + (y - 12) ** 2 < 60] = 1
    share[0, 0] = 0
    return np.rint(low + share * (high - low)).astype(np.int64)


def colour():
    return np.stack([grey(0, 255), grey(255, 30), grey(60, 190)], -1)


def dataset(samples, bits, signed=False, kind="MONOCHROME2", allocated=None, **tags):
    ds = pydicom.Dataset()
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.SOPClassUID = uid.SecondaryCaptureImageStorage
    ds.SOPInstanceUID = "1.2.3.4"
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.Rows, ds.Columns = HEIGHT, WIDTH
    ds.BitsAllocated = allocated or (8 if bits == 8 else 16)
    ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation = int(signed)
    ds.PhotometricInterpretation = kind
    ds.SamplesPerPixel = samples.shape[2] if samples.ndim == 3 else 1
    if ds.SamplesPerPixel == 3:
        ds.PlanarConfiguration = 0
    for name, value in tags.items():
        setattr(ds, name, value)
    kind = f"{'i' if signed else 'u'}{ds.BitsAllocated // 8}"
    ds.PixelData = samples.astype(f"<{kind}").tobytes()
    if len(ds.PixelData) % 2:
        ds.PixelData += b"\0"
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"
    return ds


def encapsulated(ds, syntax, stream):
    ds.PixelData = encapsulate([stream])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def compressed(ds, syntax, **options):
    ds.compress(syntax, generate_instance_uid=False, **options)
    return ds


def shown(ds):
    """The picture as 8-bit samples, by pydicom's functions alone."""
    samples = pixel_array(ds)
    if ds.SamplesPerPixel == 3:
        return samples.astype(np.uint8)
    values = apply_modality_lut(samples, ds).astype(float)
    if "WindowCenter" in ds:
        # pydicom brings windowed values to the range of the stored bits, through
        # the modality's slope.
        bits = ds.BitsStored
        least = -(2 ** (bits - 1)) if ds.PixelRepresentation else 0
        most = least + 2**bits - 1
        slope = float(ds.get("RescaleSlope", 1))
        intercept = float(ds.get("RescaleIntercept", 0))
        least, most = least * slope + intercept, most * slope + intercept
        values = apply_windowing(values, ds).astype(float)
    elif ds.BitsStored > 8:
        least, most = values.min(), values.max()
    else:
        least, most = 0, 255
    if ds.PhotometricInterpretation == "MONOCHROME1":
        values = least + most - values
    return np.rint((values - least) / (most - least) * 255).astype(np.uint8)


def as_written(ds):
    """The file's bytes."""
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def main(folder):
    hu = grey(-1000, 1500)  # as computed tomography has them
    window = dict(WindowCenter=40, WindowWidth=400)
    files = {}

    # Samples.
    files["signed_16"] = dataset(hu, 16, True, **window)
    files["rescaled"] = dataset(
            hu + 1024, 12, RescaleSlope=1, RescaleIntercept=-1024, **window)
    files["rescaled_by_half"] = dataset(
            grey(0, 4000), 12, RescaleSlope=0.5, RescaleIntercept=-100,
            WindowCenter=600.5, WindowWidth=901)
    files["signed_12"] = dataset(grey(-2000, 2000), 12, True, **window)
    files["two_windows"] = dataset(
            hu, 16, True, WindowCenter=[40, 300], WindowWidth=[400, 1500])
    files["window_of_one"] = dataset(
            hu, 16, True, WindowCenter=40, WindowWidth=1)
    files["linear_exact"] = dataset(
            hu, 16, True, VOILUTFunction="LINEAR_EXACT", **window)
    files["sigmoid"] = dataset(hu, 16, True, VOILUTFunction="SIGMOID", **window)
    files["monochrome_1"] = dataset(
            grey(0, 4095), 12, kind="MONOCHROME1", WindowCenter=2000,
            WindowWidth=3000)
    files["monochrome_1_of_8"] = dataset(grey(3, 250), 8, kind="MONOCHROME1")
    files["no_window_8"] = dataset(grey(50, 190), 8)
    files["no_window_12"] = dataset(grey(100, 3000), 12)
    files["ten_of_16"] = dataset(grey(0, 1023), 10, WindowCenter=500, WindowWidth=800)
    files["rgb"] = dataset(colour(), 8, kind="RGB")
    planes = dataset(colour(), 8, kind="RGB", PlanarConfiguration=1)
    planes.PixelData = colour().transpose(2, 0, 1).astype("u1").tobytes()
    files["rgb_planes"] = planes
    files["ybr_full"] = dataset(
            np.array(PIL.Image.fromarray(colour().astype("u1")).convert("YCbCr")),
            8, kind="YBR_FULL")

    # Transfer syntaxes.
    def twelve():
        return dataset(grey(0, 4000), 12, WindowCenter=2000, WindowWidth=3500)

    files["implicit"] = twelve()
    files["implicit"].file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    files["deflated"] = twelve()
    files["deflated"].file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    big = twelve()
    big.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    big.PixelData = grey(0, 4000).astype(">u2").tobytes()
    files["big_endian"] = big
    files["rle"] = compressed(twelve(), uid.RLELossless)
    files["rle_rgb"] = compressed(dataset(colour(), 8, kind="RGB"), uid.RLELossless)
    files["jpeg_ls"] = compressed(twelve(), uid.JPEGLSLossless)
    files["jpeg_ls_signed"] = compressed(
            dataset(hu, 16, True, **window), uid.JPEGLSLossless)
    files["jpeg_ls_near"] = compressed(twelve(), uid.JPEGLSNearLossless, jls_error=3)
    files["jpeg_2000"] = compressed(twelve(), uid.JPEG2000Lossless)
    files["jpeg_2000_signed"] = compressed(
            dataset(hu, 16, True, **window), uid.JPEG2000Lossless)
    files["jpeg_2000_lossy"] = compressed(twelve(), uid.JPEG2000, j2k_cr=[5])
    files["jpeg_2000_rgb"] = compressed(
            dataset(colour(), 8, kind="RGB"), uid.JPEG2000Lossless)
    files["jpeg_lossless"] = encapsulated(
            twelve(), uid.JPEGLosslessSV1,
            imagecodecs.ljpeg_encode(grey(0, 4000).astype("u2"), bitspersample=12))
    files["jpeg_12"] = encapsulated(
            twelve(), uid.JPEGExtended12Bit,
            imagecodecs.jpeg_encode(grey(0, 4000).astype("u2"), bitspersample=12, level=95))
    files["jpeg_8"] = encapsulated(
            dataset(grey(0, 255), 8), uid.JPEGBaseline8Bit,
            imagecodecs.jpeg_encode(grey(0, 255).astype("u1"), level=95))
    files["jpeg_ybr"] = encapsulated(
            dataset(colour(), 8, kind="YBR_FULL"), uid.JPEGBaseline8Bit,
            imagecodecs.jpeg_encode(
                    colour().astype("u1"), level=95, subsampling="444", colorspace="RGB",
                    outcolorspace="YCbCr"))

    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("*.dcm"), *folder.glob("*.png")]:
        old.unlink()
    for name, ds in files.items():
        data = as_written(ds)
        (folder / f"{name}.dcm").write_bytes(data)
        picture = shown(pydicom.dcmread(io.BytesIO(data)))
        PIL.Image.fromarray(picture).save(folder / f"{name}.png", optimize=True)

    # What is refused, by name: no pictures beside them.
    refused = {}
    refused["frames"] = dataset(grey(0, 255), 8, NumberOfFrames=2)
    refused["frames"].PixelData *= 2
    palette = dataset(grey(0, 3), 8, kind="PALETTE COLOR")
    for part in ("Red", "Green", "Blue"):
        setattr(palette, f"{part}PaletteColorLookupTableDescriptor", [4, 0, 16])
        setattr(palette, f"{part}PaletteColorLookupTableData",
                        np.array([0, 1000, 30000, 65535], "<u2").tobytes())
    refused["palette"] = palette
    table = pydicom.Dataset()
    table.LUTDescriptor = [256, 0, 8]
    table.LUTData = bytes(range(256))
    table["LUTData"].VR = "OW"
    refused["table"] = dataset(grey(0, 255), 8)
    refused["table"].VOILUTSequence = [table]
    refused["modality_table"] = dataset(grey(0, 255), 8)
    table = pydicom.Dataset()
    table.LUTDescriptor = [256, 0, 8]
    table.LUTData = bytes(range(256))
    table["LUTData"].VR = "OW"
    table.ModalityLUTType = "US"
    refused["modality_table"].ModalityLUTSequence = [table]
    refused["bits_32"] = dataset(grey(0, 100000), 32, allocated=32)
    for name, ds in refused.items():
        (folder / f"refused_{name}.dcm").write_bytes(as_written(ds))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
