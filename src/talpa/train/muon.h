#pragma once

#include <vector>

#include "talpa/train/adamw.h"

namespace talpa::train {

/// Whether Muon trains a parameter, by talpa's names (model/weights.h): matrices inside layers, so
/// attention, feed-forward and experts, latent ones included. Not the embedding and the head, whose
/// rows are looked up one by one, not routers, mixing weights and norms.
bool is_muon_matrix(const std::string& name, const at::Tensor& value);

/// Matrices with about the singular vectors of `matrices_BMN`, a batch of B matrices m x n, and
/// singular values near one: `steps` of X <- a X + b (X X^T) X + c (X X^T)^2 X with (a, b, c) =
/// (3.4445, -4.7750, 2.0315) from X / |X|_F (Jordan et al., "Muon: An optimizer for hidden layers
/// in neural networks", 2024). After five steps a singular value that was above 0.002 |X|_F lies in
/// [0.68, 1.21]. A matrix of zeros stays one.
at::Tensor orthogonalise(const at::Tensor& matrices_BMN, int steps);

/// Muon for what is_muon_matrix() says, AdamW for the rest. With gradient G, momentum mu and
/// learning rate eta,
///   M <- mu M + G
///   W <- W - eta (r sqrt(max(m, n)) orthogonalise(G + mu M) + lambda W),   r = update_rms
/// (Jordan et al., 2024, Nesterov's form; weight decay lambda and the factor sqrt(max(m, n)) from
/// Liu et al., "Muon is Scalable for LLM Training", arXiv 2502.16982, eq. 4). An orthogonal m x n
/// matrix has entries of root mean square 1/sqrt(max(m, n)); the factor makes it r, and at r = 0.2,
/// about that of AdamW's updates, both share learning rate and weight decay. Of a stack [N, m, n]
/// every matrix is orthogonalised on its own.
class Muon : public Optimizer {
 public:
  /// Throws kConfig if there is no matrix to train.
  Muon(std::map<std::string, at::Tensor> parameters, const OptimizerConfig& config);

  void step(double learning_rate) override;
  /// "NAME/momentum" of matrices, AdamW's state of the rest.
  std::map<std::string, at::Tensor> state() const override;
  std::int64_t num_steps() const override { return rest_.num_steps(); }
  void set_num_steps(std::int64_t steps) override { rest_.set_num_steps(steps); }

 private:
  struct Matrix {
    std::string name;
    at::Tensor value, momentum;
  };
  void update(Matrix& matrix, double learning_rate) const;

  MuonConfig config_;
  double weight_decay_;
  std::vector<Matrix> matrices_;
  AdamW rest_;
};

}  // namespace talpa::train
