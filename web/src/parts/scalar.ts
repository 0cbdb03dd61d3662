import { BadTensor, decode } from "../document/tensor.js";
import type { Tensor } from "../document/types.js";
import { brief } from "../numbers/format.js";

/** The one value of a tensor in so many digits; a dash where there is none. */
export function scalarText(tensor: Tensor | null | undefined, digits = 5): string {
  if (!tensor) return "–";
  try {
    return brief(decode(tensor).values[0], digits);
  } catch (error) {
    if (error instanceof BadTensor) return "–";
    throw error;
  }
}
