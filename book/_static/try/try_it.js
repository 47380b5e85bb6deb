/* The pages "Try it" and "Where the class token looks" (data-maps on the section): samples to a log-Mel image, to
   probabilities and attention, by ONNX Runtime in this page. The second begins with a picture that PyTorch computed, and
   loads the networks when something is moved.

   A classic script, and so is all that it loads: a page opened from disk may load nothing else. workflow/try_it.py makes
   those files; each puts one value into window.tryIt. */
(() => {
  "use strict";
  const here = document.currentScript.src.replace(/[^/]*$/, "");
  const root = document.getElementById("try");
  const part = (name) => document.getElementById(`try-${name}`);
  const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u00a0%`;
  const loaded = (window.tryIt ??= {});
  const maps = "maps" in root.dataset;
  const QUIET = -45; // dB: the noise slider's end, where there is none
  const PLAIN = {speed: 1, noise: QUIET, shift: 0};
  const isPlain = (values) => Object.entries(PLAIN).every(([name, value]) => values[name] === value);
  const WIDTH = 6, ROLLOFF = 0.99; // of the resampling filter, torchaudio's
  const LARGEST_FILE = 50e6; // bytes
  const LOUDEST = 1e3, SHORT = 0.5; // serlib's, of a sample; seconds of a file that is noted
  const RATES = [1_000, 192_000]; // Hz: a file of the highest takes two seconds to resample
  // The smallest module with a SIMD instruction, which the runtime needs.
  const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
  let settings, image, corpus;
  let own = null; // what was opened or recorded
  let source; // {samples, title, expected}

  // Loading

  const scripts = {};
  const load = (name) => (scripts[name] ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `${here}${name}.js`;
    script.onload = () => resolve(loaded[name]);
    script.onerror = () => reject(new Error(`${name}.js is missing. Build the book anew: make book.`));
    document.head.append(script);
  }));
  function bytes(base64) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
    const text = atob(base64), out = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
    return out;
  }
  async function unpacked(base64) {
    const stream = new Response(bytes(base64)).body.pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }
  /** The file of that name, its network unpacked, which may go on while the runtime compiles. */
  const fetched = (name) => load(name).then(async (file) => {
    file.unpacked ??= unpacked(file.network);
    await file.unpacked;
    return file;
  });
  const session = async (file) => (file.session ??= ort.InferenceSession.create(await file.unpacked));

  async function prepare() {
    settings = await load("settings");
    for (const [name, title] of Object.entries(settings.networks)) part("network").add(new Option(title, name));
    if (maps) {
      const start = await load("start");
      part("network").value = start.corpus.name;
      corpus = start.corpus;
      list();
      start.pixels = Float32Array.from(bytes(start.levels), (level) => level / 255);
      Object.assign(start, PLAIN);
      show((loaded.result = {...start, plain: start}));
      part("hint").textContent = start.hint;
    }
    if (!globalThis.WebAssembly?.validate(new Uint8Array(SIMD)) || !globalThis.DecompressionStream) {
      throw new Error("This browser cannot run the networks: it lacks WebAssembly SIMD or DecompressionStream. " +
        "Chrome and Edge have both from 91 on, Firefox from 113, Safari from 16.4.");
    }
  }

  async function begin() {
    await prepared;
    if (maps) part("status").textContent = `Loading the networks, ${corpus.megabytes} MB.`;
    const scripts = [load("runtime"), load("ort.wasm.min")];
    fetched(part("network").value);
    const [runtime] = await Promise.all(scripts);
    const glue = new Blob([runtime.glue], {type: "text/javascript"});
    ort.env.wasm.numThreads = 1; // more would need special headers
    ort.env.wasm.wasmPaths = {mjs: URL.createObjectURL(glue)};
    ort.env.wasm.wasmBinary = await unpacked(runtime.wasm);
    image = await session(await fetched("image"));
    await choose(part("network").value);
  }
  let begun;
  const ready = () => (begun ??= begin());

  async function choose(name) {
    part("status").textContent = "Computing.";
    const file = await fetched(name), network = await session(file);
    if (part("network").value !== name) return; // another was chosen meanwhile
    corpus = {...file, name, network};
    if (!maps) part("size").textContent = `Compares the student with its teacher, for which ${file.megabytes} MB are loaded.`;
    list();
    await pick(own ? "own" : "0");
  }

  function list() {
    const options = corpus.utterances.map(({emotion, text}, i) => new Option(`${emotion}: “${text}”`, i));
    part("utterance").replaceChildren(...options);
    if (own) part("utterance").add(new Option(own.title, "own"));
  }

  async function pick(value) {
    part("utterance").value = value;
    if (value === "own") source = own;
    else {
      const chosen = corpus.utterances[value];
      source = {samples: pcm(bytes(chosen.wav)), title: "the synthetic utterance", expected: chosen};
    }
    await update();
  }

  // Samples

  /** The samples of a WAV file of 16 bits and one channel with a header of 44 bytes, as workflow/try_it.py writes it. */
  const pcm = (file) => Float32Array.from(new Int16Array(file.buffer, 44), (value) => value / 32768);

  function wav(samples) {
    const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
    const rate = settings.sample_rate;
    const words = [0x52494646, 0, 0x57415645, 0x666d7420, 0, 0, 0, 0, 0, 0x64617461];
    words.forEach((word, i) => view.setUint32(4 * i, word));
    for (const [at, value] of [[4, view.byteLength - 8], [16, 16], [24, rate], [28, 2 * rate], [40, 2 * samples.length]]) {
      view.setUint32(at, value, true);
    }
    for (const [at, value] of [[20, 1], [22, 1], [32, 2], [34, 16]]) view.setUint16(at, value, true);
    samples.forEach((x, i) => view.setInt16(44 + 2 * i, 32767 * Math.max(-1, Math.min(1, x)), true));
    return new Blob([view], {type: "audio/wav"});
  }

  /** `speed` times as fast, pitch with it: a windowed sinc, torchaudio's resampling by default. */
  function faster(samples, speed) {
    const cutoff = ROLLOFF * Math.min(1, 1 / speed);
    const reach = WIDTH / cutoff;
    return Float32Array.from({length: Math.ceil(samples.length / speed)}, (_, i) => {
      let sum = 0;
      const last = Math.min(samples.length - 1, Math.floor(i * speed + reach));
      for (let j = Math.max(0, Math.ceil(i * speed - reach)); j <= last; j++) {
        const t = (j - i * speed) * cutoff;
        const sinc = t ? Math.sin(Math.PI * t) / (Math.PI * t) : 1;
        sum += samples[j] * sinc * Math.cos((Math.PI * t) / WIDTH / 2) ** 2;
      }
      return sum * cutoff;
    });
  }

  /** Numbers in [0, 1), the same ones every time (mulberry32). */
  function random(seed) {
    return () => {
      seed = (seed + 0x6d2b79f5) | 0;
      let x = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
      return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  function changed(samples, {speed, noise, shift}) {
    const longest = settings.seconds * settings.sample_rate;
    if (speed !== 1) samples = faster(samples, speed);
    samples = samples.subarray(0, longest);
    if (noise > QUIET) {
      const draw = random(1);
      const level = Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length) * 10 ** (noise / 20);
      const normal = () => Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw());
      samples = samples.map((x) => x + level * normal());
    }
    const before = Math.round(shift * settings.sample_rate);
    const out = new Float32Array(Math.min(longest, Math.max(settings.hop_length, before + samples.length)));
    out.set(samples.subarray(0, Math.max(0, longest - before)), before);
    return out;
  }

  /** One sample of a WAV file in [-1, 1], by its coding (1: whole numbers, 3: floating point) and bits. */
  const READERS = {
    "1,8": (view, at) => (view.getUint8(at) - 128) / 128,
    "1,16": (view, at, little) => view.getInt16(at, little) / 2 ** 15,
    "1,24": (view, at, little) => (view.getInt8(at + 2 * little) * 2 ** 16 + view.getUint16(at + !little, little)) / 2 ** 23,
    "1,32": (view, at, little) => view.getInt32(at, little) / 2 ** 31,
    "3,32": (view, at, little) => view.getFloat32(at, little),
    "3,64": (view, at, little) => view.getFloat64(at, little),
  };

  /** Rate and samples (mean of the channels) of a WAV file by its header, as serlib reads it; null for another format.
      Browsers differ: Firefox reads floating point of 64 bits as of 32. */
  function readWav(buffer) {
    const view = new DataView(buffer);
    const name = (at) => String.fromCharCode(...new Uint8Array(buffer, at, 4));
    if (buffer.byteLength < 12 || !["RIFF", "RIFX", "RF64"].includes(name(0)) || name(8) !== "WAVE") return null;
    const little = name(0) !== "RIFX", word = (at) => view.getUint16(at, little), double = (at) => view.getUint32(at, little);
    let format, data, fact = 0, declared64 = 0;
    for (let at = 12; at + 8 <= buffer.byteLength; ) {
      const kind = name(at), size = double(at + 4);
      const there = Math.min(size, buffer.byteLength - at - 8);
      if (kind === "ds64" && there >= 16) declared64 = Number(view.getBigUint64(at + 16, true));
      if (kind === "fmt " && there >= 16) {
        const stated = word(at + 8), coding = stated === 0xfffe && there >= 26 ? word(at + 32) : stated; // the extensible form
        format = {coding, channels: word(at + 10), rate: double(at + 12), block: word(at + 20), bits: word(at + 22)};
      }
      if (kind === "fact" && there >= 4) fact = double(at + 8);
      if (kind === "data") {
        data = {at: at + 8, declared: declared64 && size === 0xffffffff ? declared64 : size, there: buffer.byteLength - at - 8};
        break;
      }
      at += 8 + size + (size % 2);
    }
    if (!format || !data) throw new Error("a WAV file without a format or samples");
    const unknown = data.declared === 0 || data.declared >= 0x7ffff000; // the writer did not know the length
    if (!unknown && data.there < data.declared) {
      throw new Error(`cut off: ${data.there.toLocaleString("en")} of ${data.declared.toLocaleString("en")} bytes of samples`);
    }
    if (!format.channels || !format.rate) throw new Error("a WAV file without channels or sampling rate");
    const {coding, channels, block, bits, rate} = format, width = Math.ceil(bits / 8), frame = width * channels;
    const read = READERS[`${coding},${8 * width}`];
    if (!read && coding !== 1 && coding !== 3) return {...format, seconds: fact / rate}; // compressed: the browser may know it
    if (block !== frame) {
      throw new Error(`samples of ${bits} bits in ${+(block / channels).toPrecision(6)} bytes: save it as 16, 24 or 32 bits`);
    }
    if (!read) throw new Error(`samples of ${bits} bits (coding ${coding}) are not read. Convert it to 16-bit PCM`);
    const samples = new Float32Array(Math.floor((unknown ? data.there : data.declared) / frame));
    for (let i = 0; i < samples.length; i++) {
      for (let c = 0; c < channels; c++) samples[i] += read(view, data.at + i * frame + c * width, little) / channels;
    }
    return {...format, unknown, samples};
  }

  /** Rate and seconds that a FLAC file declares; null for another format. Chromium plays half a file without a word. */
  function readFlac(buffer) {
    const view = new DataView(buffer);
    if (buffer.byteLength < 42 || view.getUint32(0) !== 0x664c6143) return null; // fLaC
    const rate = view.getUint32(18) >>> 12, samples = (view.getUint8(21) % 16) * 2 ** 32 + view.getUint32(22);
    return rate ? {rate, seconds: samples / rate} : null;
  }

  /** Samples at the networks' rate, of as many seconds as the fastest speed uses: computed here, as PyTorch does, for
      what Firefox makes of a lower rate is 68 dB away. */
  function resampled({samples, rate}) {
    const [lowest, highest] = RATES;
    if (rate < lowest || rate > highest) {
      throw new Error(`a sampling rate of ${rate.toLocaleString("en")} Hz: ${lowest.toLocaleString("en")} to ` +
        `${highest.toLocaleString("en")} are read`);
    }
    const used = samples.subarray(0, Math.ceil(part("speed").max * settings.seconds * rate));
    return rate === settings.sample_rate ? used : faster(used, rate / settings.sample_rate);
  }

  /** What the browser makes of a file that is no plain WAV: the mean of its channels. */
  async function decoded(buffer, header) {
    const rate = header?.rate >= 8_000 ? header.rate : settings.sample_rate; // a context of less is not to be had
    let audio;
    try { // a context converts to its rate
      audio = await new OfflineAudioContext(1, 1, rate).decodeAudioData(buffer);
    } catch {
      throw new Error(header?.coding
        ? `a compressed WAV file (coding ${header.coding}), which this browser cannot read. Convert it to 16-bit PCM`
        : "no sound that this browser can read. Try a WAV file of 16-bit PCM, or an MP3 file");
    }
    if (header?.seconds && Math.abs(audio.duration - header.seconds) > 0.01 + 0.01 * header.seconds) {
      throw new Error(`this browser reads ${audio.duration.toFixed(2)} s; the header says ${header.seconds.toFixed(2)} s`);
    }
    const samples = new Float32Array(audio.length);
    for (let c = 0; c < audio.numberOfChannels; c++) {
      audio.getChannelData(c).forEach((x, i) => (samples[i] += x / audio.numberOfChannels));
    }
    return {samples, rate, channels: audio.numberOfChannels};
  }

  /** Refuses what serlib refuses; says what serlib notes. */
  function noted({samples, rate, channels, unknown}) {
    const seconds = samples.length / rate, window = settings.window_length / settings.sample_rate, notes = [];
    if (!samples.length) throw new Error("no samples");
    if (!samples.every(Number.isFinite)) throw new Error("a sample is not a finite number");
    const loudest = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    if (loudest > LOUDEST) throw new Error(`a sample of ${loudest.toExponential(0)}: they lie between -1 and 1`);
    if (seconds < window) throw new Error(`${samples.length} samples: shorter than a window of ${1000 * window} ms`);
    if (unknown) notes.push("a header without the length of the samples");
    if (channels > 1) notes.push(`${channels} channels, averaged`);
    if (seconds < SHORT) notes.push(`shorter than ${SHORT} s`);
    if (rate < settings.sample_rate) notes.push(`${rate.toLocaleString("en")} Hz: nothing above ${rate / 2_000} kHz`);
    if (seconds > settings.seconds) notes.push(`longer than ${settings.seconds} s, the rest is left out`);
    return notes.length ? ` Note: ${notes.join("; ")}.` : "";
  }

  /** Opens or receives what a reader brings. */
  async function bring(blob, title) {
    try {
      if (blob.size > LARGEST_FILE) throw new Error(`larger than ${LARGEST_FILE / 1e6} MB. Cut it`);
      const buffer = await blob.arrayBuffer(), header = readWav(buffer) ?? readFlac(buffer);
      const read = header?.samples ? header : await decoded(buffer, header);
      own = {samples: resampled(read), notes: noted(read), title};
    } catch (error) {
      throw new Error(`${title}: ${error.message}.`);
    }
    list();
    await pick("own");
  }

  /** The speaker that a file's name gives, where it is a name of the chosen corpus. */
  const speakerOf = (title) => title.match(new RegExp(`^${corpus.names}$`, "i"))?.groups.speaker ?? "";

  let recorder = null;
  async function record() {
    if (recorder) return recorder.stop();
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      throw new Error("No microphone here: open the book from disk, localhost or https, in a browser that records.");
    }
    const plain = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({audio: plain});
    } catch (error) {
      throw new Error(`No microphone: ${error.message}. Allow it for this page, or open a file.`);
    }
    recorder = new MediaRecorder(stream);
    const chunks = [], end = setTimeout(() => recorder?.stop(), 1000 * settings.seconds);
    recorder.ondataavailable = ({data}) => chunks.push(data);
    recorder.onstop = () => {
      clearTimeout(end);
      stream.getTracks().forEach((track) => track.stop());
      recorder = null;
      part("record").textContent = "Record";
      act(() => bring(new Blob(chunks), "your recording"));
    };
    recorder.start();
    part("record").textContent = "Stop";
    part("status").textContent = `Recording, ${settings.seconds} s at most.`;
  }

  // Computing

  /** The image, then its derivatives along time, one channel after the other. */
  async function draw(samples) {
    const found = await image.run({samples: new ort.Tensor("float32", samples, [samples.length])});
    return found.channels.data;
  }
  const area = () => settings.image_size[0] * settings.image_size[1];
  const pixelsOf = (channels) => channels.subarray(0, area());

  /** What a network makes of the first of the channels, as many as it takes. */
  async function answer(network, channels, taken = 1) {
    const given = channels.subarray(0, taken * area());
    const found = await network.run({channels: new ort.Tensor("float32", given, [taken, ...settings.image_size])});
    const logits = Array.from(found.logits.data), largest = Math.max(...logits);
    const powers = logits.map((x) => Math.exp(x - largest)), sum = powers.reduce((a, b) => a + b);
    return {logits, probabilities: powers.map((x) => x / sum), attention: Array.from(found.attention.data)};
  }

  /** A random order of the columns, always the same, and channels in it: a column keeps its derivatives. */
  function order() {
    const draw = random(0), columns = Array.from({length: settings.image_size[1]}, (_, i) => i);
    for (let i = columns.length - 1; i > 0; i--) {
      const j = Math.floor(draw() * (i + 1));
      [columns[i], columns[j]] = [columns[j], columns[i]];
    }
    return columns;
  }
  const shuffled = (channels) => {
    const width = settings.image_size[1], columns = order();
    return channels.map((_, i) => channels[i - (i % width) + columns[i % width]]);
  };

  const pressed = () => part("shuffle")?.getAttribute("aria-pressed") === "true";
  let asked = 0, running = Promise.resolve();
  /** Computes what the controls say; of several requests that wait, the last. */
  function update() {
    const mine = ++asked;
    return (running = running.then(() => (mine === asked && source ? attempt(compute) : undefined)));
  }

  const teacherOf = async ({teacher}) => session(await fetched(teacher));

  /** How the sliders stand. */
  const moved = () => Object.fromEntries(Object.keys(PLAIN).map((name) => [name, Number(part(name).value)]));

  /** What both networks look at, the sound changed by `values`. */
  async function looks(of, heard, values) {
    const samples = changed(heard.samples, values), channels = await draw(samples);
    const student = await answer(of.network, channels, of.channels);
    const teacher = await answer(await teacherOf(of), channels);
    const seconds = samples.length / settings.sample_rate;
    return {...values, samples, seconds, pixels: pixelsOf(channels), student, teacher};
  }

  async function compute() {
    const values = moved();
    const began = performance.now(), of = corpus, heard = source; // either may be chosen anew meanwhile
    const result = {...values, corpus: of, source: heard, shuffle: pressed()};
    if (maps) {
      const plain = ((heard.plain ??= {})[of.name] ??= await looks(of, heard, PLAIN));
      Object.assign(result, isPlain(values) ? plain : await looks(of, heard, values), {plain});
    } else {
      result.samples = changed(heard.samples, values);
      result.seconds = result.samples.length / settings.sample_rate;
      const inOrder = await draw(result.samples);
      result.pixels = pixelsOf(inOrder);
      result.student = await answer(of.network, inOrder, of.channels);
      loaded.firstInference ??= performance.now(); // milliseconds after the page was asked for
      if (result.shuffle) await compare(result, inOrder);
    }
    result.milliseconds = performance.now() - began;
    show((loaded.result = result));
  }

  /** Student and teacher, the columns in order and shuffled. */
  async function compare(result, inOrder) {
    const {corpus: of} = result, other = shuffled(inOrder);
    part("says").textContent = "Computing the teacher.";
    const teacher = await teacherOf(of);
    result.order = order();
    result.studentShuffled = await answer(of.network, other, of.channels);
    result.teacher = await answer(teacher, inOrder);
    result.teacherShuffled = await answer(teacher, other);
    result.pixels = pixelsOf(other);
  }

  // Showing

  const best = ({probabilities}) => {
    const i = probabilities.indexOf(Math.max(...probabilities));
    return `${loaded.result.corpus.emotions[i]}, ${percent(probabilities[i])}`;
  };
  const furthest = (a, b) => Math.max(...a.map((x, i) => Math.abs(x - b[i])));

  /** Says beside each slider how it stands. */
  function say({speed, noise, shift}) {
    const texts = {speed: `${speed.toFixed(1)} times`, noise: noise > QUIET ? `${noise} dB`.replace("-", "−") : "none", shift: `${shift} s`};
    for (const [name, text] of Object.entries(texts)) {
      part(name).setAttribute("aria-valuetext", text);
      root.querySelector(`output[for=try-${name}]`).textContent = text;
    }
  }

  function show(result) {
    say(result);
    for (const button of versions) button.setAttribute("aria-pressed", String(isSet(button, result)));
    if (part("audio").src) URL.revokeObjectURL(part("audio").src);
    part("audio").hidden = !result.samples;
    if (result.samples) part("audio").src = URL.createObjectURL(wav(result.samples));
    picture();
    if (maps) part("status").textContent = shares(result);
    else tell(result);
  }

  /** The column of the image, with a fraction, that shows a moment in seconds. */
  const columnAt = (seconds) =>
    (((seconds * settings.sample_rate) / settings.hop_length + 0.5) * settings.image_size[1]) / settings.n_frames;

  /** The share of a network's attention on the columns from the beginning of the sound to its end. */
  function onSound(role, {shift, seconds, [role]: {attention}}) {
    const heard = attention.slice(Math.floor(columnAt(shift)), Math.ceil(columnAt(seconds)));
    return percent(heard.reduce((sum, share) => sum + share, 0), 0);
  }
  const shares = (result) => `Attention on the sound: ${["teacher", "student"].map((role) =>
    `${result.corpus.titles[role]} ${onSound(role, result)}` +
    (isPlain(result) ? "" : ` (as it is: ${onSound(role, result.plain)})`)).join(", ")}.`;

  /** The answer, and how far it is to be trusted. */
  function tell(result) {
    const {student, source} = result;
    const silent = result.pixels.every((x) => x === 0) ? " But this is silence: the image is black." : "";
    part("status").textContent = `The student says ${best(student)}.${silent}${source.notes ?? ""}`;
    part("trust").textContent = trust(result);
    probabilities(student.probabilities);
    part("expected").textContent = "";
    if (source.expected && isPlain(result)) {
      const away = furthest(student.probabilities, source.expected.probabilities);
      part("expected").textContent =
        `Expected, by PyTorch when this book was built: ${best(source.expected)}. Largest difference of a probability ` +
        `here: ${away.toExponential(0)}. ${away < 1e-3 ? "As expected." : "NOT as expected."} ` +
        `Computed in ${result.milliseconds.toFixed(0)} ms.`;
    }
    comparison(result);
  }

  /** How far an answer can be trusted. */
  function trust({corpus: {reliability, speakers}, source}) {
    const asked = source.expected ? ` The synthesizer was asked for ${source.expected.emotion}.` : "";
    const speaker = source.expected ? "" : speakerOf(source.title); // as the corpus chosen now names files
    let known = "";
    if (speaker) known = speakers.includes(speaker)
      ? `Speaker ${speaker} was in training, so this answer says nothing about new speakers. `
      : `Speaker ${speaker} was not in training. `;
    else if (!source.expected) known = "Its name does not say whose speech it is: a speaker who was in training is named rightly more often. ";
    return `${known}${reliability}${asked}`;
  }

  function probabilities(shares) {
    const largest = Math.max(...shares);
    part("probabilities").tBodies[0].replaceChildren(...loaded.result.corpus.emotions.map((emotion, i) => {
      const row = document.createElement("tr"), name = document.createElement("th"), bar = document.createElement("div");
      name.scope = "row";
      name.textContent = emotion;
      row.className = shares[i] === largest ? "largest" : "";
      row.append(name);
      bar.style.width = `${100 * shares[i]}%`;
      const cell = row.insertCell();
      cell.className = "bar";
      cell.setAttribute("aria-hidden", "true");
      cell.append(bar);
      row.insertCell().textContent = percent(shares[i]);
      return row;
    }));
  }

  function comparison({shuffle, student, studentShuffled, teacher, teacherShuffled}) {
    part("says").textContent = "";
    part("shuffled").replaceChildren();
    if (!shuffle) return;
    const table = document.createElement("table"), head = table.createTHead().insertRow(), body = table.createTBody();
    for (const title of ["", "columns in order", "shuffled", "largest change of a logit"]) {
      const cell = document.createElement(title ? "th" : "td");
      if (title) cell.scope = "col";
      cell.textContent = title;
      head.append(cell);
    }
    for (const [name, before, after] of [["Student", student, studentShuffled], ["Teacher", teacher, teacherShuffled]]) {
      const row = body.insertRow(), title = document.createElement("th");
      const change = furthest(before.logits, after.logits);
      title.scope = "row";
      title.textContent = name;
      row.append(title);
      const moved = change < 1e-3 ? change.toExponential(0) : change.toFixed(2);
      for (const text of [best(before), best(after), moved]) row.insertCell().textContent = text;
      part("says").append(`${name}: ${change < 1e-3 ? "nothing changes; what is left is rounding" : "the logits change"}. `);
    }
    part("shuffled").append(table);
  }

  function svg(parent, name, attributes, text = "") {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.textContent = text;
    parent.append(node);
    return node;
  }

  /** Pixels in [0, 1] by the colour map, as the address of a picture: a bitmap of 256 colours, its last row first. Browsers
      that resist fingerprinting read noise from a canvas. */
  function coloured(width, height, level) {
    const line = 4 * Math.ceil(width / 4), start = 54 + 4 * 256, view = new DataView(new ArrayBuffer(start + line * height));
    view.setUint16(0, 0x424d);
    const words = [[2, view.byteLength], [10, start], [14, 40], [18, width], [22, height], [26, 0x80001]]; // one plane, 8 bits
    for (const [at, value] of words) view.setUint32(at, value, true);
    settings.colours.forEach((colour, i) => colour.forEach((part, c) => view.setUint8(56 + 4 * i - c, part)));
    for (let row = 0; row < height; row++) {
      const at = start + (height - 1 - row) * line;
      for (let column = 0; column < width; column++) view.setUint8(at + column, Math.round(255 * level(column, row)));
    }
    return `data:image/bmp;base64,${btoa(String.fromCharCode(...new Uint8Array(view.buffer)))}`;
  }

  function picture() {
    const {pixels, seconds, shuffle, student, studentShuffled, teacher, source, plain, corpus} = loaded.result;
    const profiles = maps
      ? Object.entries({teacher, student}).map(([role, {attention}]) => [corpus.titles[role], attention, plain[role].attention])
      : [["Attention of the student, share of each column", (shuffle ? studentShuffled : student).attention]];
    const [rows, all] = settings.image_size;
    const end = Math.min(settings.seconds, Math.max(2, Math.ceil(Math.max(seconds, plain?.seconds ?? 0) + 0.2)));
    const shown = shuffle ? all : Math.min(all, Math.round(columnAt(end)));
    const width = part("picture").clientWidth, left = 54, right = 50, inner = width - left - right;
    if (width < 200) return; // not laid out
    const top = 18, high = 200, low = 70, gap = 30, bottom = top + high + profiles.length * (gap + low);
    const x = (column) => left + (column / shown) * inner;
    const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const size = {viewBox: `0 0 ${width} ${bottom + 40}`, height: bottom + 40, role: "img",
      "aria-label": "The log-Mel image that the networks get, over the attention to each column"};
    for (const [key, value] of Object.entries(size)) drawing.setAttribute(key, value);
    const line = (x1, y1, x2, y2) => svg(drawing, "line", {class: "axis", x1, y1, x2, y2});
    const label = (x, y, anchor, text) => svg(drawing, "text", {x, y, "text-anchor": anchor}, text);

    const href = coloured(shown, rows, (column, row) => pixels[row * all + column]);
    svg(drawing, "image", {href, x: left, y: top, width: inner, height: high, preserveAspectRatio: "none"});
    label(left - 8, top - 6, "end", "Hz");
    for (const [hertz, share] of settings.ticks) {
      const y = top + high * (1 - share);
      line(left - 4, y, left, y);
      label(left - 8, y + 4, "end", hertz.toLocaleString("en"));
    }
    const scale = coloured(1, 256, (_, row) => 1 - row / 255), bar = left + inner + 8;
    svg(drawing, "image", {href: scale, x: bar, y: top, width: 8, height: high, preserveAspectRatio: "none"});
    label(bar, top - 6, "start", "dB");
    label(bar + 12, top + 10, "start", "0");
    label(bar + 12, top + high, "start", `−${settings.dynamic_range}`);

    const largest = Math.max(...profiles.flatMap(([, ...shares]) => shares.flat()));
    for (const [i, [name, now, before]] of profiles.entries()) {
      const above = top + high + gap + i * (gap + low), base = above + low;
      const y = (share) => base - (share / largest) * low;
      const steps = (shares) => shares.slice(0, shown).map((share, i) => `V${y(share)}H${x(i + 1)}`).join("");
      svg(drawing, "path", {class: "bars", d: `M${left} ${base}${steps(now)}V${base}`});
      if (before && !isPlain(loaded.result)) svg(drawing, "path", {class: "before", d: `M${left} ${base}${steps(before)}`});
      label(left, above - 8, "start", name);
      label(left - 8, above + 8, "end", percent(largest));
      label(left - 8, base + 4, "end", "0");
      line(left, base, left + inner, base);
    }
    const [step, titled] = shuffle ? [16, "columns, in shuffled order"] : [end > 5 && width < 600 ? 2 : 1, "time, s"];
    for (let at = 0; at <= (shuffle ? shown : end); at += step) {
      const place = x(shuffle ? at : columnAt(at));
      line(place, bottom, place, bottom + 4);
      label(Math.min(place, left + inner), bottom + 18, "middle", at);
    }
    label(left + inner / 2, bottom + 36, "middle", titled);

    const speech = Math.min(all, Math.ceil(columnAt(seconds)));
    const rest = student.attention.slice(speech).reduce((a, b) => a + b, 0);
    const peak = student.attention.indexOf(Math.max(...student.attention));
    const where = (((peak + 0.5) * settings.n_frames * settings.hop_length) / all / settings.sample_rate).toFixed(1);
    const caption = maps
      ? `The log-Mel image of ${source.title}, over the share of each network's attention that a column gets` +
        `${isPlain(loaded.result) ? "" : "; the line shows the sound as it is"}.`
      : `The log-Mel image of ${source.title}${shuffle ? ", its columns shuffled" : ""}, over the student's attention. It looks ` +
        `most at ${where}\u00a0s. ${percent(rest)} of its attention is on the black after the end of the sound.`;
    part("caption").textContent = caption;
    part("picture").replaceChildren(drawing);
  }

  // Controls

  async function attempt(what) {
    try {
      await what();
    } catch (error) {
      part("status").textContent = error.message;
      console.warn(error);
    }
  }
  /** What a reader asks for, once the networks are there. */
  const act = (what) => attempt(() => ready().then(what));

  function change() {
    say(moved());
    act(update);
  }
  // A version: a button that sets the sliders, those that it does not name as they were.
  const versions = [...root.querySelectorAll("[data-set]")];
  const setBy = (button) => ({...PLAIN, ...JSON.parse(button.dataset.set)});
  const isSet = (button, values) => Object.entries(setBy(button)).every(([name, value]) => values[name] === value);
  for (const button of versions) button.addEventListener("click", () => {
    for (const [name, value] of Object.entries(setBy(button))) part(name).value = value;
    change();
  });
  for (const name of Object.keys(PLAIN)) part(name).addEventListener("input", change);
  part("network").addEventListener("change", ({target: {value}}) => act(() => choose(value)));
  part("utterance").addEventListener("change", ({target: {value}}) => act(() => pick(value)));
  part("file").addEventListener("change", ({target: {files: [file]}}) => {
    if (file) act(() => bring(file, file.name));
  });
  part("record").addEventListener("click", () => act(record));
  part("shuffle")?.addEventListener("click", ({target}) => {
    target.setAttribute("aria-pressed", String(!pressed()));
    act(update);
  });
  new ResizeObserver(() => settings && loaded.result && picture()).observe(part("picture"));
  root.hidden = false;
  const prepared = prepare();
  loaded.ready = attempt(() => (maps ? prepared : ready())); // a first picture is shown
})();
