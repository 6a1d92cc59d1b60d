/** Plays the scenes of ACP against any command, its wire told to whoever records it. Used by the recorder and by tests. */
import { makeAcp } from "../../src/protocols/Acp.ts"
import type { AcpState } from "../../src/protocols/AcpState.ts"
import type { Protocol } from "../../src/protocols/Protocol.ts"
import type { Opening, scenes } from "./AcpScenes.ts"
import { drive, type Driven, type Launch } from "./CodexDriver.ts"

const withoutResume = (protocol: Protocol<AcpState>): Protocol<AcpState> => ({
  ...protocol,
  frames: (state, frames, now) =>
    protocol.frames(
      state,
      frames.map((line) => line.replace('"resume":{}', '"resume":null')),
      now,
    ),
})

/** `launch`: how the scene's process number `n` is started, from 1; `said`: hears every line. */
export const play = async (
  scene: (typeof scenes)[string],
  launch: (n: number) => Launch,
  adapt: (driven: Driven) => Driven = (driven) => driven,
  said: (n: number, dir: "in" | "out", line: string) => void = () => {},
): Promise<number> => {
  const opened: Array<Driven> = []
  try {
    await scene(({ from, options = {}, loads = false }: Opening = {}) => {
      const n = opened.length + 1
      const protocol = loads ? withoutResume(makeAcp(options)) : makeAcp(options)
      const driven = drive(protocol, launch(n), from ?? null, (dir, line) => said(n, dir, line))
      opened.push(driven)
      return adapt(driven)
    })
    return opened.length
  } finally {
    for (const { child, exited } of opened) {
      child.kill("SIGKILL")
      await exited
    }
  }
}
