// The search of the site runs in a worker, which browsers refuse to pages that were opened as files. There it gets a frame of the page instead.
// mkdocs-material's own stand-in would be loaded from unpkg.com; it gives way to a script with "iframe-worker" in its name (mkdocs.yml).
if (location.protocol === 'file:') {
  class IFrameWorker extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement('iframe')
      frame.hidden = true
      document.body.append(frame)
      this.frame = frame
      const inside = frame.contentWindow
      inside.document.open() // else Firefox puts another empty document into the frame later
      inside.document.close()
      const load = (src) =>
        new Promise((resolve, reject) => {
          const script = inside.document.createElement('script')
          Object.assign(script, { src, onload: resolve, onerror: () => reject(new Error(`${src} cannot be loaded`)) })
          inside.document.head.append(script)
        })
      // What a worker's script calls; its importScripts returns at once, mkdocs-material's search awaits this one.
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent('message', { data }))
      inside.importScripts = async (...urls) => {
        for (const each of urls) await load(each)
      }
      this.loaded = load(url)
    }

    async postMessage(data) {
      await this.loaded
      this.frame.contentWindow.dispatchEvent(new MessageEvent('message', { data }))
    }

    terminate() {
      this.frame.remove()
    }
  }
  window.Worker = window.IFrameWorker = IFrameWorker // by the second name mkdocs-material's search tells that it is in a frame
}
