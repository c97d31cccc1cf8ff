// The special members of Op, each of which has a case for every operator.
#include "bitfold/ops.h"

namespace bitfold {

Op::Op() = default;
Op::Op(const Op& other) = default;
Op::Op(Op&& other) noexcept = default;
Op& Op::operator=(const Op& other) = default;
Op& Op::operator=(Op&& other) noexcept = default;
Op::~Op() = default;

bool Op::operator==(const Op& other) const {
  return static_cast<const OpVariant&>(*this) == static_cast<const OpVariant&>(other);
}

}  // namespace bitfold
