// Makes a photo small before it waits: upright, and without what the camera wrote into it. The
// server draws it anew whatever comes; this keeps the queue small and the network free.
const QUALITY = 0.8;

export class Unusable extends Error {}

// A JPEG of at most `side` pixels a side. Throws Unusable, in words.
export async function shrunk(file, side, bytesMost) {
  if (file.size > bytesMost) {
    throw new Unusable(interpolate(gettext("The file has more than %s MB: choose a smaller photo."), [bytesMost >> 20]));
  }
  let picture;
  try {
    picture = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Unusable(gettext("This file is no photo that this telephone can read."));
  }
  const scale = Math.min(1, side / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const pen = canvas.getContext("2d");
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  const blob = await asJpeg(canvas);
  if (!blob) throw new Unusable(gettext("This file is no photo that this telephone can read."));
  return blob;
}

export function asJpeg(canvas) {
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
}

// A field to sign in with a finger; dark on white, whatever the page looks like.
export class Signature {
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.clear();
    let at = null;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      at = place(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!at) return;
      const next = place(event);
      this.pen.beginPath();
      this.pen.moveTo(...at);
      this.pen.lineTo(...next);
      this.pen.stroke();
      at = next;
      this.isEmpty = false;
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => {
        at = null;
        onChange();
      });
    }
  }

  clear() {
    this.pen.fillStyle = "white";
    this.pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    this.pen.strokeStyle = "black";
    this.pen.lineWidth = 3;
    this.pen.lineCap = "round";
    this.isEmpty = true;
  }

  async put(blob) {
    this.clear();
    if (!blob) return;
    const picture = await createImageBitmap(blob);
    this.pen.drawImage(picture, 0, 0, this.canvas.width, this.canvas.height);
    picture.close();
    this.isEmpty = false;
  }

  async blob() {
    return this.isEmpty ? null : asJpeg(this.canvas);
  }
}
