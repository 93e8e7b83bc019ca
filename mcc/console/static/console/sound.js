// What a call sounds like. The tone runs in the audio engine, not on timers: those of a hidden tab
// are slowed down. Of several tabs of one browser only the one that holds the lock is heard.
const TONES = {
  // base Hz, how far it swings (Hz), how often a second, wave, loudness
  panic: [740, 180, 2, "square", 0.22],
  late: [980, 320, 5, "sawtooth", 0.3],
};

export class Sound {
  constructor(onChange) {
    this.onChange = onChange;
    this.context = null;
    this.playing = null;
    this.hasTurn = false;
    this.wanted = null;
  }

  get isRunning() {
    return this.context?.state === "running";
  }

  // Only a click or a key may do this: browsers allow no sound before.
  async enable() {
    if (!this.context) {
      this.context = new AudioContext();
      this.context.onstatechange = () => this.onChange();
      navigator.locks.request("kentongan-sound", () => {
        this.hasTurn = true;
        this.play(this.wanted);
        return new Promise(() => {});
      });
    }
    await this.context.resume();
    this.onChange();
  }

  // `tone`: panic, late (nobody answers for long), or null.
  play(tone) {
    this.wanted = tone;
    const audible = this.isRunning && this.hasTurn ? tone : null;
    if (this.playing?.tone === audible || (!this.playing && !audible)) return;
    this.playing?.stop();
    this.playing = null;
    if (!audible) return;
    const [base, swing, rate, wave, loudness] = TONES[audible];
    const [voice, pace, depth, volume] = [this.context.createOscillator(), this.context.createOscillator(), this.context.createGain(), this.context.createGain()];
    voice.type = wave;
    voice.frequency.value = base;
    pace.type = "square";
    pace.frequency.value = rate;
    depth.gain.value = swing;
    volume.gain.value = loudness;
    pace.connect(depth).connect(voice.frequency);
    voice.connect(volume).connect(this.context.destination);
    voice.start();
    pace.start();
    this.playing = { tone: audible, stop: () => (voice.stop(), pace.stop(), volume.disconnect()) };
  }

  // A short mark, over whatever tone there is: a call was repeated (the drum's beat: five knocks on
  // one note), a test, a new fault, the start of a shift.
  chime(kind) {
    if (!this.isRunning || !this.hasTurn) return;
    const notes = { repeat: [1319, 1319, 1319, 1319, 1319], test: [523, 659], fault: [330, 262], hello: [523, 659, 784] }[kind];
    const start = this.context.currentTime;
    notes.forEach((hertz, n) => {
      const [voice, volume] = [this.context.createOscillator(), this.context.createGain()];
      voice.type = kind === "repeat" ? "triangle" : "sine";
      voice.frequency.value = hertz;
      volume.gain.setValueAtTime(kind === "repeat" ? 0.5 : 0.25, start + n * 0.18);
      volume.gain.exponentialRampToValueAtTime(0.001, start + n * 0.18 + 0.17);
      voice.connect(volume).connect(this.context.destination);
      voice.start(start + n * 0.18);
      voice.stop(start + n * 0.18 + 0.18);
    });
  }
}
